"""The program that a command line names, as a ClearML agent can run it, although it has not run here."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from autoinstrument.capture.notebook import source_of_file
from autoinstrument.capture.queued_process import queued_process
from autoinstrument.integrations.parsed_arguments import command_line
from autoinstrument.records import ProcessStarted
from autoinstrument.scrubber import MASK

_NOTEBOOK = ".ipynb"


def described(command: Sequence[str], folder: Path) -> ProcessStarted:
    """Return the description of the process that a command would start.

    Args:
        command: its words, with or without a Python in front.
        folder: where it would be started.

    Raises:
        click.UsageError: an agent cannot run it.
    """
    words = list(command)
    if words and re.fullmatch(r"python[\d.]*(\.exe)?", Path(words[0]).name):
        del words[0]
    if not words or (words[0].startswith("-") and words[0] != "-m") or words == ["-m"]:
        raise click.UsageError("expected a script or `-m module`, as in: -- python train.py --lr 0.1")
    module = words[1] if words[0] == "-m" else ""
    arguments = words[2:] if module else words[1:]
    path = _found_module(module, folder) if module else folder / words[0]
    if path is None or not path.is_file():
        if not module and shutil.which(words[0]):
            raise click.UsageError(
                f"an agent starts Python, not {words[0]}: give the script or module that {words[0]} starts, "
                "as in: -- python -m package.train"
            )
        raise click.UsageError(f"there is no {module or words[0]} in this folder")
    line = command_line(arguments)
    if MASK in line:
        raise click.UsageError(
            "the command line holds a secret, which must not travel: leave it out, and set it on the agent's machine"
        )
    kind, source = "module" if module else "script", ""
    if path.suffix == _NOTEBOOK:
        kind, source = "notebook", _cells(path, arguments)
    return queued_process(
        kind, folder=folder, line=line, path=str(path), module=module, sys_path=[str(folder), *sys.path], source=source
    )


def split(values: Sequence[str]) -> list[str]:
    """Return the words of an option that may be given several times, each time with several words.

    Raises:
        click.UsageError: a quotation mark is missing.
    """
    try:
        return [word for value in values for word in shlex.split(value)]
    except ValueError as error:
        raise click.UsageError(f"{' '.join(values)!r} is not understood: {error}") from None


def _cells(path: Path, arguments: list[str]) -> str:
    if arguments:
        raise click.UsageError("a notebook takes no arguments: have its cells read variables")
    try:
        return source_of_file(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise click.UsageError(f"{path.name} cannot be read as a notebook: {error}") from None


def _found_module(module: str, folder: Path) -> Path | None:
    """Return the file that `-m` would run in a folder, if it is below that: there, or in a folder such as `src`."""
    entries = (Path(entry).absolute() for entry in sys.path if entry and "site-packages" not in entry)
    below = [root for root in (*entries, folder / "src") if root != folder and root.is_relative_to(folder)]
    return next(filter(None, (_module_file(module, root) for root in (folder, *below))), None)


def _module_file(module: str, folder: Path) -> Path | None:
    """Return the file of a module in a `sys.path` entry; nothing is imported to find it."""
    base = folder.joinpath(*module.split("."))
    files = (base.with_name(f"{base.name}.py"), base / "__main__.py")
    return next((file for file in files if file.is_file()), None)
