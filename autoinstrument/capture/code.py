"""Find the code that a training process runs: a file, a module, or a text that no file holds.

Runs in the worker: the process may be gone, but its files can be read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from autoinstrument.capture import archives
from autoinstrument.capture.notebook import as_script
from autoinstrument.capture.patch import instead
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.records import ProcessStarted

_MAX_SIZE = 2**20
"""Characters read of a script, more than a Task keeps; a small file in an archive may unpack to a large one."""


class Code(NamedTuple):
    """The code of a program."""

    folder: Path
    """Folder that decides to which repository it belongs."""
    file: Path | None = None
    module: str = ""
    text: str = ""
    name: str = ""
    """Name of the file for `text`."""


def code_of(process: ProcessStarted, cwd: Path) -> Code:
    """Return the code of a process; `cwd` is its working directory."""
    kind = process.main_kind
    if kind in ("script", "module") and process.main_path:
        # Python itself resolves the links of a script before it looks for modules beside it.
        file = Path(os.path.realpath(process.main_path))
        installed = _is_installed(file, process)
        if kind == "module" and installed:
            return Code(cwd, module=process.main_module)
        if not file.is_file():
            text = instead(f"{file.name} was deleted before it could be read.")
            return Code(file.parent, file, process.main_module, text, file.name)
        if installed:  # a command in an environment's bin folder: a few lines that call into a package
            return Code(cwd, text=read(file), name=command_name(file.stem))
        return Code(file.parent, file, process.main_module)
    if kind == "module" and not process.main_path:  # an installed one, of a process that does not run yet
        return Code(cwd, module=process.main_module)
    path = Path(process.main_path) if process.main_path else None
    name = {"notebook": "notebook.py", "command": "command.py"}.get(kind, "interactive.py")
    if path is not None:
        name = re.sub(r"[^\w.-]", "_", path.stem) + ".py"
    text = as_script(process.source) if kind != "command" else process.source
    if text and not text.endswith("\n"):
        text += "\n"
    missing = instead("The code was read from standard input, and is not kept.")
    return Code(path.parent if path else cwd, text=text or missing, name=name)


def _is_installed(file: Path, process: ProcessStarted) -> bool:
    if {"site-packages", "dist-packages"} & set(file.parts):
        return True
    # `python -m unittest` and the like: the standard library, which pyenv and others keep in a Git repository.
    if any((Path(entry) / "os.py").is_file() and Path(entry).resolve() in file.parents for entry in process.sys_path):
        return True
    return file.parent == Path(process.executable).parent or (file.parent.parent / "pyvenv.cfg").is_file()


def python_name(file: Path) -> str:
    """Return the file's name with the suffix .py, by which clearml-agent separates a script from its arguments."""
    return file.name if file.suffix == ".py" else f"{file.stem}.py"


def command_name(command: str) -> str:
    """Return the name of the file that runs a command; it must not hide the package that the file imports."""
    return f"run_{command}.py" if command.isidentifier() else f"{command}.py"


def module_root(file: Path, module: str) -> Path | None:
    """Return the `sys.path` entry from which a file was imported as a module; None if the name does not match."""
    parts = module.split(".")
    if file.name in ("__init__.py", "__main__.py"):
        parts.append(file.stem)
    ends = file.with_suffix("").parts[-len(parts) :]
    return file.parents[len(parts) - 1] if list(ends) == parts else None


def module_started_in(process: ProcessStarted, script: Mapping[str, str]) -> str:
    """Return where a module was started, relative to the repository's root; "" if that is the Task's `working_dir`.

    It is another folder if the package was installed from a folder such as `src` (`pip install -e .`): an agent must
    begin in that one, where `-m` finds the module with its uncommitted changes.

    Args:
        process: the process.
        script: the script section of its Task.
    """
    if process.main_kind != "module" or not process.main_path or not script.get("repository"):
        return ""
    root = module_root(Path(os.path.realpath(process.main_path)), process.main_module)
    inside = Path(script["working_dir"]).parts
    if root is None or root.parts[len(root.parts) - len(inside) :] != inside:
        return ""  # an installed module, or a `working_dir` that a person has set
    top, started = (root, *root.parents)[len(inside)], Path(os.path.realpath(process.cwd))
    return started.relative_to(top).as_posix() if started != root and started.is_relative_to(top) else ""


def is_source(file: Path) -> bool:
    """Return True for a Python file that exists, also in a zip archive."""
    return file.suffix == ".py" and (file.is_file() or archives.archive_of(file) is not None)


def read(file: Path) -> str:
    """Return the file's text (of a zip archive its `__main__.py`), or a script that says why it cannot be read."""
    try:
        if archives.is_archive(file):
            return archives.read_member(file, "__main__.py", _MAX_SIZE)
        archive = archives.archive_of(file)
        if archive is not None:
            return archives.read_member(archive, file.relative_to(archive).as_posix(), _MAX_SIZE)
        with file.open(encoding="utf-8", errors="replace") as script:
            return script.read(_MAX_SIZE)
    except OSError as error:
        return instead(f"{file.name} could not be read: {error.strerror}.")
    except archives.ERRORS as error:
        return instead(f"{file.name} could not be read: {error}.")
