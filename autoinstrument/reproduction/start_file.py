"""The file that starts a reproduced program: variables, folder, and the command line."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

NAME = "run.cmd" if sys.platform == "win32" else "run.sh"
_ON_VARIABLES = "A variable that is set wins over the one given here."


class Start(NamedTuple):
    """How a program is started, wherever the folder with its code is moved to.

    Attributes:
        title: a line about it.
        working_dir: where it is started, relative to the folder.
        interpreter: a path, relative to the folder or absolute; "" for the shell.
        words: the program and its arguments.
        variables: set where the environment does not have them.
        search: folders from which modules are imported, relative to `working_dir`.
    """

    title: str
    working_dir: str
    interpreter: str
    words: Sequence[str]
    variables: Mapping[str, str]
    search: Sequence[str] = (".",)


def write_start_file(folder: Path, start: Start) -> Path:
    """Write the file into the folder, and return its path."""
    file = folder / NAME
    file.write_text(batch(start) if sys.platform == "win32" else shell(start), encoding="utf-8", newline="")
    if sys.platform != "win32":
        file.chmod(0o755)
    return file


def run_start_file(file: Path, environment: Mapping[str, str]) -> int:
    """Run the file with this process's standard streams; return its exit code, as a shell reports it."""
    command = [str(file)] if sys.platform == "win32" else ["/bin/sh", str(file)]
    process = subprocess.Popen(command, env=dict(environment))
    while True:
        try:
            code = process.wait()
        except KeyboardInterrupt:  # the program gets the signal, too, and decides
            continue
        return code if code >= 0 else 128 - code


def shown(command: Sequence[str]) -> str:
    """Return a command line as a person types it."""
    return subprocess.list2cmdline(command) if sys.platform == "win32" else shlex.join(command)


def shell(start: Start) -> str:
    """Return the file's text for a POSIX shell."""
    here = '"$here"/' if not start.interpreter.startswith("/") else ""
    program = here + shlex.quote(start.interpreter) if start.interpreter else "/bin/sh"
    path = ":".join('"$PWD"' if each == "." else f'"$PWD"/{shlex.quote(each)}' for each in start.search)
    return "\n".join([
        "#!/bin/sh",
        f"# {_line(start.title)}",
        f"# {_ON_VARIABLES}",
        'here=$(cd "$(dirname "$0")" && pwd) || exit 1',
        *(f'[ -n "${{{name}+set}}" ] || export {name}={shlex.quote(text)}' for name, text in start.variables.items()),
        f'cd "$here"/{shlex.quote(start.working_dir)} || exit 1',
        f'export PYTHONPATH={path}"${{PYTHONPATH:+:$PYTHONPATH}}"',
        f'exec {program} {shlex.join(start.words)} "$@"',
        "",
    ])  # fmt: skip


def batch(start: Start) -> str:
    """Return the file's text for cmd.exe."""
    here = "" if Path(start.interpreter).is_absolute() else "%~dp0"
    program = here + _literal(start.interpreter.replace("/", "\\")) if start.interpreter else "bash"
    below = ("" if each == "." else "\\" + _literal(each.replace("/", "\\")) for each in start.search)
    path = ";".join(f"%CD%{each}" for each in below)
    return "\r\n".join([
        "@echo off",
        f"rem {_literal(_line(start.title))}",
        f"rem {_ON_VARIABLES}",
        "setlocal",
        *(f'if not defined {name} set "{name}={_literal(_line(text))}"' for name, text in start.variables.items()),
        f'cd /d "%~dp0{_literal(start.working_dir)}" || exit /b 1',
        f'if defined PYTHONPATH (set "PYTHONPATH={path};%PYTHONPATH%") else set "PYTHONPATH={path}"',
        f'"{program}" {_literal(subprocess.list2cmdline(start.words))} %*',
        "exit /b %ERRORLEVEL%",
        "",
    ])  # fmt: skip


def _line(text: str) -> str:
    return " ".join(text.split())


def _literal(text: str) -> str:
    return text.replace("%", "%%")
