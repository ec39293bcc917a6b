"""Make a virtual environment with the packages of a Task: by uv where there is one, else by venv and pip.

A requirements file for an agent names what another machine can get. On this machine some of it is better taken from
where it is: a package that lives in the Task's own repository from the code that was just made, with its uncommitted
changes, and this package from where it is installed from.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from autoinstrument.capture.distributions import pip_url
from autoinstrument.reproduction.recipe import Recipe

FOLDER = ".venv"
"""Name of the environment's folder."""
_THIS_PACKAGE = "autoinstrument"
_FILE = "requirements.txt"
_STDERR = 2
"""Installers report progress on stdout, which belongs to the program."""


class InstallError(Exception):
    """The environment cannot be made; the text is for a person."""


def python_of(folder: Path) -> Path:
    """Return the interpreter of the environment in a folder."""
    return folder / FOLDER / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def requirements_here(recipe: Recipe, code: str) -> str:
    """Return the packages of a Task as they are installed on this machine.

    Args:
        recipe: what the Task says.
        code: folder of its code, relative to where the packages are installed from.
    """
    return "".join(f"{_line_here(line, recipe, code)}\n" for line in recipe.requirements.splitlines())


def make_environment(recipe: Recipe, folder: Path, requirements: str) -> list[str]:
    """Make the virtual environment in a folder, with a requirements file beside it.

    Returns:
        What a person must know, a line each.

    Raises:
        InstallError: it cannot be made, or not all packages can be installed.
    """
    (folder / _FILE).write_text(requirements, encoding="utf-8")
    uv = _uv()
    notes = list[str]()
    if not (uv and _made([*uv, "venv", "--python", _minor(recipe.python) or "3", FOLDER], folder)):
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        python = _interpreter(recipe.python)
        if not _made([*python, "-m", "venv", FOLDER], folder):
            raise InstallError(f"`{' '.join(python)} -m venv` failed, see above")
    python = [str(python_of(folder))]
    is_of = subprocess.run([*python, "-V"], capture_output=True, text=True, check=False).stdout.split()[-1:]
    if recipe.python and is_of and not f"{is_of[0]}.".startswith(_minor(recipe.python) + "."):
        notes.append(f"there is no Python {_minor(recipe.python)} here: the environment has {is_of[0]}")
    if not any(line.strip() and not line.startswith("#") for line in requirements.splitlines()):
        return notes
    if uv and _made([*uv, "pip", "install", "--python", *python, "-r", _FILE], folder):
        return notes
    if uv:
        notes.append("uv did not install the packages, see above; pip did, by its own settings")
    pip = [*python, "-m", "pip"]
    if not _succeeds([*python, "-c", "import pip"]):
        pip = [sys.executable, "-m", "pip", "--python", *python]
    install = [*pip, "install", "--disable-pip-version-check", "-r", _FILE]
    if not _made(install, folder):
        raise InstallError(
            f"not all packages can be installed, see above; change {folder / _FILE}, and run there: {' '.join(install)}"
        )
    return notes


def _line_here(line: str, recipe: Recipe, code: str) -> str:
    text = re.split(r"\s+#", line)[0].strip()
    if re.match(rf"{_THIS_PACKAGE}\s*==", text) and (origin := _origin_here()):
        return f"{_THIS_PACKAGE} @ {origin}"
    if recipe.repository and recipe.commit:
        source = re.escape(f"git+{pip_url(recipe.repository)}@{recipe.commit}")
        if match := re.fullmatch(rf"[\w.\[\],-]+\s*@\s*{source}(?:#subdirectory=(?P<below>[^&]+))?", text):
            return f"-e ./{code}/{match['below']}" if match["below"] else f"-e ./{code}"
    return line


def _origin_here() -> str:
    """Return the address from which this package was installed here, "" for a package index (PEP 610)."""
    try:
        origin: dict[str, Any] = json.loads(metadata.distribution(_THIS_PACKAGE).read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError, OSError):
        return ""
    url = str(origin.get("url") or "")
    if url.startswith("file:") and not Path(unquote(urlsplit(url).path)).exists():
        return ""
    if vcs := origin.get("vcs_info"):
        return f"{vcs.get('vcs', 'git')}+{url}@{vcs.get('commit_id', '')}"
    return url


def _uv() -> list[str]:
    if found := shutil.which("uv"):
        return [found]
    return [sys.executable, "-m", "uv"] if find_spec("uv") else []


def _interpreter(version: str) -> list[str]:
    """Return the command that starts a version of Python; this one, if there is none."""
    minor = _minor(version)
    if not version or minor == "{}.{}".format(*sys.version_info[:2]):
        return [sys.executable]
    other = ["py", f"-{minor}"] if sys.platform == "win32" else [f"python{minor}"]
    # That a program of this name is there does not mean that it runs: it may be a shim of pyenv's.
    return other if shutil.which(other[0]) and _succeeds([*other, "-V"]) else [sys.executable]


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(list(command), capture_output=True, check=False).returncode == 0


def _made(command: Sequence[str], folder: Path) -> bool:
    """Return True if a command succeeds; what it prints is shown on stderr."""
    # The variable would have uv and pip install into the environment in which this command runs.
    foreign = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "UV_PROJECT_ENVIRONMENT")
    environment = {name: value for name, value in os.environ.items() if name not in foreign}
    try:
        done = subprocess.run(
            list(command), cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=_STDERR, check=False
        )
    except OSError:
        return False
    return done.returncode == 0
