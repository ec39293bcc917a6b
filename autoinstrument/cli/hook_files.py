"""The start-up files: their names, their contents, and the folders in which Python finds them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

from autoinstrument.bootstrap.startup_files import hook_folder, site_folders
from autoinstrument.records import parse
from autoinstrument.transport import own_python

MANIFEST = "autoinstrument-hook.json"
"""Lists the files that `install` has written into a folder, so that `uninstall` removes exactly these."""
SITECUSTOMIZE = "sitecustomize.py"

_PTH = (
    "# autoinstrument: links MLflow runs to ClearML Tasks. Where none of these variables is set, nothing is imported.\n"
    'import os; any(map(os.getenv, ("AUTOINSTRUMENT_ENABLED", "AUTOINSTRUMENT_EXPLAIN", "CLEARML_TASK_ID", '
    '"TRAINS_TASK_ID"))) and exec("try:\\n  import autoinstrument; autoinstrument.init()\\nexcept Exception: pass")\n'
)
_START = "autoinstrument:init\n"

START_UP: dict[str, bytes] = {"autoinstrument-init.pth": _PTH.encode(), "autoinstrument-init.start": _START.encode()}
"""Contents by name, repeated here: a wheel installs these files into site-packages, and not into this package."""

_ASK = "import json, sysconfig; print(json.dumps(sysconfig.get_path('purelib')))"
_ASK_S = 20.0
_MAX_MANIFEST = 65_536


class HookError(Exception):
    """A folder cannot be used as requested; the message is one line with the remedy."""


def sitecustomize() -> bytes:
    """Return the `sitecustomize.py` that arms the agent and runs the next one on the path."""
    return (hook_folder() / SITECUSTOMIZE).read_bytes()


def digest(content: bytes) -> str:
    """Return the SHA-256 of a file's content, in hex."""
    return hashlib.sha256(content).hexdigest()


def site_packages_of(interpreter: str) -> Path:
    """Return the site-packages folder of an interpreter, which is started with the agent off.

    Raises:
        HookError: it cannot be started.
    """
    try:
        done = subprocess.run(
            [interpreter, "-I", "-c", _ASK], env={**os.environ, "AUTOINSTRUMENT_ENABLED": "0"},
            capture_output=True, text=True, timeout=_ASK_S, check=True,
        )  # fmt: skip
        return Path(json.loads(done.stdout))
    except (OSError, ValueError, subprocess.SubprocessError):
        raise HookError(f"{interpreter} does not run as a Python interpreter") from None


def folder_of(target: str) -> tuple[Path, bool]:
    """Return the folder for the start-up files, and whether Python reads `.pth` files there.

    `target` is an interpreter, a virtual environment, its site-packages, or any other folder, which must be on
    PYTHONPATH; "" is this environment.

    Raises:
        HookError: there is no such file or folder.
    """
    if not target:
        own = Path(__file__).parents[2]  # may be the user's site-packages
        if own in site_folders():
            return own, True
        if (python := own_python.interpreter()) is None:
            raise HookError(f"{own_python.NoPythonError()}; name an interpreter, or a virtual environment")
        return site_packages_of(python), True
    path = Path(target).expanduser().absolute()
    if path.is_file():
        return site_packages_of(str(path)), True
    for interpreter in (path / "bin" / "python", path / "Scripts" / "python.exe"):
        if interpreter.is_file():
            return site_packages_of(str(interpreter)), True
    if not path.is_dir():
        raise HookError(f"{path} does not exist; name an interpreter, a virtual environment, or a folder")
    return path, path.name in ("site-packages", "dist-packages")


def owned(folder: Path) -> dict[str, str]:
    """Return the hashes (SHA-256) in the folder's manifest by name, of start-up files only.

    Raises:
        HookError: the manifest cannot be read.
    """
    file = folder / MANIFEST
    try:
        with file.open("rb") as stream:
            listed = parse(stream.read(_MAX_MANIFEST))["files"]
        return {str(name): str(listed[name]) for name in (*START_UP, SITECUSTOMIZE) if name in listed}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError):
        raise HookError(f"{file} cannot be read; remove it and the files beside it by hand") from None
