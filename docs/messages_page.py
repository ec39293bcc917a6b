"""`python docs/messages_page.py`: write docs/messages.md from the code's messages and docs/messages.yml.

The code has the texts; `messages.yml` has causes and remedies. A message that only one of them has is an error.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "autoinstrument"
TEXTS = ROOT / "docs" / "messages.yml"
_LOGGED = {"info", "warning", "error"}
_ERRORS = {
    "UsageError", "ClickException", "BadParameter", "HookError", "NotAllowedError", "StoreNotThereError",
    "NotFoundError", "ExecutionException",
}  # fmt: skip
"""Exceptions whose texts a command, or MLflow's project runner, prints."""
_TITLES = {
    "logged": (
        "Lines of a training process",
        "On stderr after `autoinstrument: `, or in `worker.log` in AUTOINSTRUMENT_HOME.",
    ),
    "error": ("Errors of commands", "After `Error: `; the exit code is 1, or 2 for a wrong usage."),
}  # fmt: skip

_BEGINNING = """\
# Messages

<!-- Written by docs/messages_page.py from the code and docs/messages.yml: change it there. -->

Every line that autoinstrument can print about a problem, why it does, and what to do. `…` stands for what differs from
case to case. `autoinstrument doctor` and `autoinstrument explain` print a remedy with each problem: those are not here.
"""


class Message(NamedTuple):
    """A message of the code.

    Attributes:
        kind: "logged" or "error".
        text: the message; `…` stands for what differs from case to case.
    """

    kind: str
    text: str


def template(node: ast.expr) -> str | None:
    """Return a text expression as it is printed, with `…` for what is computed; None if it is not a text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%[srd]", "…", node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return None


def messages() -> Iterator[Message]:
    """Yield the messages of the package's modules, in the order of their files."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and node.args:
                name = ast.unparse(node.func)
                text = template(node.args[0])
                if text is None or not text.strip("…:; "):  # put together from other messages
                    continue
                if name.removeprefix("logger().") in _LOGGED and name.startswith("logger()."):
                    yield Message("logged", text)
                elif name.rpartition(".")[2] in _ERRORS:
                    yield Message("error", text)


def page() -> str:
    """Return the page.

    Raises:
        ValueError: a message is not in `messages.yml`, or something there is no message.
    """
    texts = yaml.safe_load(TEXTS.read_text("utf-8"))
    found = set(messages())
    text = _BEGINNING
    for kind, (title, where) in _TITLES.items():
        known, printed = texts[kind], {message.text for message in found if message.kind == kind}
        if wrong := sorted(printed ^ known.keys()):
            raise ValueError(f"{kind}: only in the code, or only in {TEXTS.name}: {wrong}")
        in_order = sorted(printed, key=lambda printed: (printed.lstrip("…:` ").lower(), printed))
        text += f"\n## {title}\n\n{where}\n\n| message | why | what to do |\n| --- | --- | --- |\n"
        for each in filter(known.get, in_order):
            why, remedy = (known[each].get(key, "") for key in ("why", "do"))
            text += f"| {_code(each)} | {why} | {remedy or 'as the message says'} |\n"
        if rest := [each for each in in_order if not known[each]]:
            text += "\nThese say themselves what is wrong, and what to do:\n\n" + "".join(
                f"- {_code(each)}\n" for each in rest
            )
    return text


def _code(text: str) -> str:
    text = text.replace("|", "\\|")  # a column would end here
    return f"`` {text} ``" if "`" in text else f"`{text}`"


if __name__ == "__main__":
    (ROOT / "docs" / "messages.md").write_text(page(), "utf-8")
