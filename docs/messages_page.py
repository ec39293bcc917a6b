"""`python docs/messages_page.py`: write docs/messages.md from the code's messages and docs/messages.yml.

The code has the texts; `messages.yml` has causes and remedies. A text that only one of them has is an error.
"""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ROOT / "docs" / "messages.yml"
sys.path.insert(0, str(ROOT / "docs"))

from messages_code import Text, findings, texts  # noqa: E402  (this folder is on the path only now)

_BEGINNING = """\
# Messages

<!-- Written by docs/messages_page.py from the code and docs/messages.yml: change it there. -->

Every line that autoinstrument can print, why it does, and what to do. `…` stands for what differs from case to case.
Search the page for a few words of the line: a line may consist of several of the texts below.
"""
_TITLES = {
    "logged": (
        "Lines of a training process",
        "On stderr after `autoinstrument: `, or in `worker.log` in AUTOINSTRUMENT_HOME.",
    ),
    "reason": (
        "Reasons",
        "They stand in the lines above, in errors of commands, and in the results `failed`, `running` and `pending` of "
        "`sync` and `status`.",
    ),
    "error": ("Errors of commands", "After `Error: `; the exit code is 1, or 2 for a wrong usage."),
    "task": (
        "Reasons on a Task",
        "In the status of a Task, in its lists of what it cannot hold, and in place of its code.",
    ),
}
_USAGE = """
## Wrong usage

The exit code is 2. `autoinstrument COMMAND --help` shows arguments and options.

| command | what is printed |
| --- | --- |
"""
_RESULTS = """
## Results of `sync`

A line is `RUN: RESULT`, and the address of the Task or a reason; a table at the end counts them.

"""
_PRINTED = """
## Other lines of commands

"""
_DIFFERENCES = """
## Differences

What `autoinstrument verify` finds, behind the name of the data. `autoinstrument sync --full --run ID` mends each,
except where another command is given.

"""
_FINDINGS = """
## Findings of `{command}`

A finding that is a problem has its remedy below it on the terminal.

| finding | what it says | remedy |
| --- | --- | --- |
"""
_COMMANDS = {
    "cli/open_page": "open",
    "cli/run_rows": "status, open",
    "cli/output": "all commands",
    "cli/install": "install, uninstall",
    "cli/remote_console": "remote",
    "cli/remote_task": "remote",
    "cli/follow": "sync --follow",
    "cli/health": "sync --follow",
    "reproduction": "reproduce",
    "guard": "all commands",
    "mirror": "verify",
    "sync": "verify",
    "check": "run --check",
    "project_backend": "mlflow run --backend clearml",
}
"""Commands of modules that have another name, by module or room."""
MODULES_OF = {
    "autoinstrument doctor": (
        "cli/doctor.py",
        "cli/environment_checks.py",
        "cli/gpu_checks.py",
        "cli/service_checks.py",
    ),
    "autoinstrument explain": ("cli/explain.py",),
}


def page() -> str:
    """Return the page.

    Raises:
        ValueError: a text of the code is not in `messages.yml`, or something there is no text of the code.
    """
    known, found = read(), list(texts())
    if problem := "; ".join(unknown(known, found)):
        raise ValueError(problem)
    parts = [_BEGINNING]
    for kind in _TITLES:
        parts.append(_section(kind, known[kind]))
        if kind == "error":
            parts += [_RESULTS, *(f"- `{word}`: {meaning}\n" for word, meaning in known["results"].items())]
            parts += [_USAGE, *(f"| `{command}` | {_code(line)} |\n" for command, line in known["usage"].items())]
            parts += _printed(known["printed"], found)
            parts += _found()
            parts += [_DIFFERENCES, *_list(known["difference"])]
    return "".join(parts)


def read() -> dict[str, Any]:
    """Return `messages.yml`."""
    known: dict[str, Any] = yaml.safe_load(TEXTS.read_text("utf-8"))
    return known


def unknown(known: Mapping[str, Any], found: Iterable[Text]) -> Iterator[str]:
    """Yield a line for each text that only the code has, or only `messages.yml`."""
    outside = [each for group in known["elsewhere"].values() for each in group]
    modules = [each for each in outside if each.endswith((".py", "/*"))]
    entries: dict[str, set[str]] = {kind: set(known[kind]) for kind in (*_TITLES, "printed", "difference")}
    entries["reason"] = {text for group in known["reason"].values() for text in group}
    entries["elsewhere"] = set(outside) - set(modules)
    shown = {text for rows in MODULES_OF.values() for row in _rows(rows) for text in row}
    printed = set()
    for text in found:
        printed.add(text.text)
        if text.kind in ("logged", "error"):
            is_known = text.text in entries[text.kind]
        else:
            is_known = any(text.text in each for each in entries.values()) or any(
                fnmatch.fnmatch(text.module, pattern) for pattern in modules
            )
            is_known = is_known or any(text.text.rstrip(".") in each for each in shown)
        if not is_known:
            yield f"{text.module}: {text.text!r} ({text.kind}) is not in {TEXTS.name}"
    for kind, names in entries.items():
        for name in sorted(names - printed):
            yield f"{TEXTS.name}: {name!r} ({kind}) is no text of the code"
    for pattern in modules:
        if not any(fnmatch.fnmatch(text.module, pattern) for text in found):
            yield f"{TEXTS.name}: {pattern} has no texts"


def _section(kind: str, known: Mapping[str, Any]) -> str:
    """Return a section; the groups of `reason` and the rows of `task` stay in their order."""
    title, where = _TITLES[kind]
    text = f"\n## {title}\n\n{where}\n"
    if kind == "reason":
        return text + "".join(f"\n### {group}\n{_table(rows)}" for group, rows in known.items())
    if kind != "task":
        known = {each: known[each] for each in sorted(known, key=lambda each: (each.lstrip("…:` ").lower(), each))}
    text += _table({each: more for each, more in known.items() if more})
    if rest := {each: more for each, more in known.items() if not more}:
        text += "\nThese say themselves what is wrong, and what to do:\n\n" + "".join(_list(rest))
    return text


def _table(known: Mapping[str, Mapping[str, str]]) -> str:
    rows = (f"| {_code(each)} | {more.get('why', '')} | {more.get('do', '')} |\n" for each, more in known.items())
    return "\n| message | why | what to do |\n| --- | --- | --- |\n" + "".join(rows)


def _list(known: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for text, more in known.items():
        said = " ".join(filter(None, (more.get("why", ""), more.get("do", ""))))
        yield f"- {_code(text)}{f': {said}' if said else ''}\n"


def _printed(known: Mapping[str, Mapping[str, str]], found: Iterable[Text]) -> Iterator[str]:
    yield _PRINTED.rstrip("\n") + "\n"
    by_command: dict[str, dict[str, Mapping[str, str]]] = {}
    for text in found:
        if text.text in known:
            module = text.module.removesuffix(".py")
            command = _COMMANDS.get(module) or _COMMANDS.get(module.partition("/")[0]) or Path(module).stem
            by_command.setdefault(command, {})[text.text] = known[text.text]
    for command, lines in sorted(by_command.items()):
        yield f"\n### {command}\n\n"
        yield from _list(lines)


def _found() -> Iterator[str]:
    for command, modules in MODULES_OF.items():
        yield _FINDINGS.format(command=command)
        for what, details, remedies in _rows(modules):
            yield f"| {what} | {details} | {remedies} |\n"


def _rows(modules: Iterable[str]) -> list[tuple[str, str, str]]:
    """Return the findings of some modules as rows: name, what they say, and remedies."""
    rows = []
    for module in modules:
        for finding in findings(module):
            said = [text for text in finding.details if text.strip("… ;()")]
            is_open = len(said) < len(finding.details) and any(finding.details)
            details = " or ".join([*map(_code, said), *(["(the reason)"] if is_open else [])])
            what = finding.what if finding.what.strip("… ") else "(a variable or a package)"
            remedies = " Or: ".join(text for text in finding.remedies if text.strip("… ."))
            if finding.may_fail and not remedies:
                remedies = "see [the reasons](#reasons)"
            rows.append((what, details, remedies))
    return list(dict.fromkeys(rows))


def _code(text: str) -> str:
    text = text.replace("|", "\\|")  # a column would end here
    return f"`` {text} ``" if "`" in text else f"`{text}`"


if __name__ == "__main__":
    (ROOT / "docs" / "messages.md").write_text(page(), "utf-8")
