"""`python docs/commands_page.py`: write docs/commands.md from the commands in autoinstrument/cli.

A test compares the page with the output of this script.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).with_name("commands.md")
sys.path.insert(0, str(PAGE.parent.parent))  # this checkout's package, whichever is installed

import click  # noqa: E402

from autoinstrument.cli import main  # noqa: E402  (the checkout is on the path only now)

_BEGINNING = """\
# Commands

<!-- Written by docs/commands_page.py from autoinstrument/cli: change it there. -->

`autoinstrument COMMAND --help` prints the same. `python -m autoinstrument` is the same program, for an environment
whose `bin` folder is not on the path. Each command has `-h` and `--help`; exit codes are 0 (done), 1 (a difference or a
problem was found) and 2 (wrong usage).
"""


def page() -> str:
    """Return the text of the page."""
    return _BEGINNING + "".join(_section(name, command) for name, command in _commands(main))


def _commands(group: click.Group, *before: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from _commands(command, *before, name)
        else:
            yield " ".join((*before, name)), command


def _section(name: str, command: click.Command) -> str:
    arguments = [param.make_metavar(click.Context(command)) for param in command.params if _is_argument(param)]
    parts = [f"## {name}", f"`autoinstrument {' '.join([name, *arguments])}`"]
    parts.append(inspect.cleandoc(command.help or ""))
    rows = [_row(param) for param in command.params if isinstance(param, click.Option)]
    if rows:
        parts.append("\n".join(["| option | meaning |", "| --- | --- |", *rows]))
    examples = (command.epilog or "").splitlines()[2:]
    parts.append("\n".join(["```text", *(line.strip() for line in examples), "```"]))
    return "\n" + "\n\n".join(parts) + "\n"


def _is_argument(param: click.Parameter) -> bool:
    return isinstance(param, click.Argument)


def _row(option: click.Option) -> str:
    metavar = (
        "" if option.is_flag else f" {option.make_metavar(click.Context(main))}".replace("INTEGER RANGE", "NUMBER")
    )
    allowed = metavar.split("[", 1)[1].rstrip("]").replace("|", ", ") if "[" in metavar else ""
    word = " VALUE" if allowed else metavar
    notes = [allowed] if allowed else []
    if option.required:
        notes.append("required")
    elif option.show_default and not option.is_flag:
        notes.append(f"default {option.default}")
    meaning = (option.help or "").rstrip(".") + (f" ({'; '.join(notes)})" if notes else "")
    return f"| `{option.opts[0]}{word}` | {meaning} |"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
