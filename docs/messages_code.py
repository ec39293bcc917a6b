"""The texts that stand in the package's code, sorted by where they go: for docs/messages_page.py.

Every text of two words or more is found, so that none can be left out of the page without a word in docs/messages.yml.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "autoinstrument"

_KINDS = {
    "logger().info": "logged", "logger().warning": "logged", "logger().error": "logged", "logger().debug": "",
    "UsageError": "error", "ClickException": "error", "BadParameter": "error", "HookError": "error",
    "NotAllowedError": "error", "StoreNotThereError": "error", "NotFoundError": "error", "ExecutionException": "error",
    "echo": "printed", "report": "printed", "_report": "printed", "sum_up": "printed", "_cannot_run": "printed",
    "confirm": "printed", "print": "printed", "write": "printed",
    "Check": "finding", "Difference": "difference", "listed": "difference", "differing": "difference",
    "guard": "", "swallow": "", "note": "", "_note": "", "post_soon": "",  # names of steps
    "option": "", "command": "", "examples": "", "_setting": "", "Setting": "", "_metric": "", "_series": "",
    "_success": "",  # on other pages: commands, settings, service
    "compile": "", "search": "", "getenv": "", "get": "", "TypeVar": "", "NamedTuple": "",
}  # fmt: skip
"""What becomes of an argument of these functions and exceptions; "" for a text that no person reads there."""
_WORDS = re.compile(r"(?:[A-Za-z]{2,}|…)['`,;:)]* ['`(]*[A-Za-z]{2,}|[A-Za-z]{2,}:? …")
_FINDINGS = re.compile(r"cli/(\w+_checks|explain)\.py")


class Text(NamedTuple):
    """A text of the code.

    Attributes:
        kind: "logged", "error", "printed", "finding", "difference", or "reason" for any other.
        text: its first line as it is printed; `…` stands for what differs from case to case.
        module: the path of the module in the package.
    """

    kind: str
    text: str
    module: str


class Finding(NamedTuple):
    """One `Check` of the code: what it is about, what it may find, and the remedies. `…` as in `Text`."""

    what: str
    details: tuple[str, ...]
    remedies: tuple[str, ...]
    may_fail: bool
    place: str


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Yield path and syntax of each module of the package."""
    for file in sorted(PACKAGE.rglob("*.py")):
        yield file.relative_to(PACKAGE).as_posix(), ast.parse(file.read_text("utf-8"))


def texts() -> Iterator[Text]:
    """Yield the texts of the package that a person may read, in the order of their files."""
    for module, tree in modules():
        for node, above in _walk(tree, ()):
            text = template(node)
            if text is None or not above or isinstance(above[-1], (ast.JoinedStr, ast.FormattedValue)):
                continue
            kind, text = _kind(node, above), next(iter(text.strip().splitlines()), "")
            is_line = kind == "logged" or (kind == "error" and isinstance(above[-1], ast.Call))
            if kind and (_WORDS.search(text) or (is_line and re.search("[A-Za-z]", text))):
                yield Text(kind, text, module)


def findings(module: str) -> Iterator[Finding]:
    """Yield the `Check`s of a module."""
    tree = ast.parse((PACKAGE / module).read_text("utf-8"))
    known = _assigned([tree.body])
    for call, above in _walk(tree, ()):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "Check":
            what, ok, detail, remedy = [*call.args, ast.Constant(""), ast.Constant("")][:4]
            function = next(node for node in above if isinstance(node, ast.FunctionDef))
            names = {**known, **_assigned(_blocks(function), call, above)}
            may_fail = not _is_harmless(ok)
            yield Finding(
                " / ".join(alternatives(what, names)), tuple(alternatives(detail, names)),
                tuple(text for text in alternatives(remedy, names) if text) if may_fail else (), may_fail,
                f"{module}:{call.lineno}",
            )  # fmt: skip


def template(node: ast.AST) -> str | None:
    """Return a text expression as it is printed, with `…` for what is computed; None if it is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%[srd]|\{\w*(?:![rs])?\}", "…", node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return None


def alternatives(node: ast.expr, names: dict[str, list[ast.expr]], depth: int = 4) -> list[str]:
    """Return the texts that an expression may be, as far as names of the function and its module show."""
    found: list[str] = []
    if isinstance(node, ast.IfExp):
        found = [*alternatives(node.body, names, depth), *alternatives(node.orelse, names, depth)]
    elif isinstance(node, ast.BoolOp):
        found = [text for value in node.values for text in alternatives(value, names, depth)]
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = (alternatives(side, names, depth)[:1] for side in (node.left, node.right))
        found = [f"{one}{other}" for one in left for other in right]
    elif isinstance(node, ast.Name) and node.id in names and depth:
        found = [text for value in names[node.id] for text in alternatives(value, names, depth - 1)]
    elif isinstance(node, ast.JoinedStr):
        found = [""]
        for part in node.values:
            inner = part.value if isinstance(part, ast.FormattedValue) else part
            ends = [str(part.value)] if isinstance(part, ast.Constant) else alternatives(inner, names, depth)
            ends = ends if len(ends) <= 2 and isinstance(inner, (ast.IfExp, ast.BoolOp, ast.Constant)) else ["…"]
            found = [text + end for text in found for end in ends]
    else:
        found = [template(node) or ("" if isinstance(node, ast.Constant) else "…")]
    return list(dict.fromkeys(found))


def _walk(node: ast.AST, above: tuple[ast.AST, ...]) -> Iterator[tuple[ast.AST, tuple[ast.AST, ...]]]:
    yield node, above
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, (*above, node))


def _kind(node: ast.AST, above: tuple[ast.AST, ...]) -> str:
    """Return where a text goes, "" if no person reads it: a docstring, an annotation, a word that is looked for."""
    if isinstance(above[-1], ast.Expr):
        return ""
    for inner, outer in zip((node, *reversed(above)), reversed(above), strict=False):
        if isinstance(outer, (ast.arg, ast.Subscript, ast.Compare)):
            return ""
        if isinstance(outer, ast.Call) and inner is not outer.func:
            full = ast.unparse(outer.func)
            name = full if full.startswith("logger()") else full.rpartition(".")[2]
            if name in _KINDS:
                return _KINDS[name]
        if isinstance(outer, (ast.FunctionDef, ast.AnnAssign)) and inner in (
            getattr(outer, "returns", None),
            getattr(outer, "annotation", None),
        ):
            return ""
        if isinstance(outer, ast.stmt):
            break
    return "reason"


def _is_harmless(ok: ast.expr) -> bool:
    """Return True if an expression can be True or None, and not False."""
    if isinstance(ok, ast.IfExp):
        return _is_harmless(ok.body) and _is_harmless(ok.orelse)
    return isinstance(ok, ast.Constant) and ok.value in (True, None)


def _blocks(function: ast.FunctionDef) -> list[list[ast.stmt]]:
    """Return the lists of statements of a function, in the order in which they begin."""
    found = [
        block for node in ast.walk(function) for name in ("body", "orelse", "finalbody")
        if isinstance(block := getattr(node, name, None), list)
    ]  # fmt: skip
    return sorted((block for block in found if block), key=lambda block: block[0].lineno)


def _assigned(
    blocks: list[list[ast.stmt]], call: ast.Call | None = None, above: tuple[ast.AST, ...] = ()
) -> dict[str, list[ast.expr]]:
    """Return what is assigned to each name, before a call if one is given.

    An assignment in a block that the call stands in replaces those before it.
    """
    found: dict[str, list[ast.expr]] = {}
    statements = [(node, block) for block in blocks for node in block if call is None or node.lineno <= call.lineno]
    for node, block in sorted(statements, key=lambda pair: pair[0].lineno):
        is_certain = any(each in block for each in above if isinstance(each, ast.stmt))
        for name, value in _targets(node):
            if is_certain:
                found[name] = [value]
            else:
                found.setdefault(name, []).append(value)
    return found


def _targets(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    for each in (
        ast.walk(node.test if isinstance(node, ast.If) else node) if isinstance(node, (ast.If, ast.Expr)) else ()
    ):
        if isinstance(each, ast.NamedExpr) and isinstance(each.target, ast.Name):
            yield each.target.id, each.value
    for target in node.targets if isinstance(node, ast.Assign) else ():
        pairs = [(target, node.value)]
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs = list(zip(target.elts, node.value.elts, strict=False))
        for name, value in pairs:
            if isinstance(name, ast.Name):
                yield name.id, value
