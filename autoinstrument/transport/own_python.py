"""How the agent starts its own Python processes: what they must not inherit from the process that starts it.

The folder of the script and the working directory are not on their path: a `logging.py` in it belongs to the user.
They are not instrumented, and no `Task.init` or ClearML agent counts them among its processes.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from autoinstrument.mlflow_store.urls import absolute

_SWITCHES = ("AUTOINSTRUMENT_ENABLED", "AUTOINSTRUMENT_EXPLAIN")
_HIDDEN = (
    # ClearML's SDK reads these when it is imported.
    "CLEARML_TASK_ID", "TRAINS_TASK_ID", "CLEARML_PROC_MASTER_ID", "TRAINS_PROC_MASTER_ID",
    "CLEARML_LOG_TASK_TO_BACKEND", "TRAINS_LOG_TASK_TO_BACKEND", "CLEARML_OFFLINE_MODE", "TRAINS_OFFLINE_MODE",
)  # fmt: skip
_PATHS = ("_FILE", "_PATH", "_DIR", "_HOME", "_BUNDLE", "_CREDENTIALS", "_URI")
"""How the names of variables end that hold a path: `CLEARML_CONFIG_FILE`, `REQUESTS_CA_BUNDLE`, and many more."""
_HOME = str(Path(__file__).resolve().parents[2])
# The package's own folder comes last: in a checkout it may be the working directory.
_CLEAN_PATH = f"""\
import os, sys
here = os.path.realpath(".")
sys.path[:] = [path for path in sys.path if path and os.path.realpath(path) != here] + [{_HOME!r}]
"""


def run(code: str, *arguments: str, timeout_s: float, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new process, in this working directory, and wait for it.

    Args:
        code: Python text; `sys.argv[1:]` are the arguments.
        arguments: words for the code.
        timeout_s: seconds until the process is killed.
        variables: set where this process's environment has none of that name.

    Raises:
        OSError: the process cannot be started.
        subprocess.TimeoutExpired: it was killed.
    """
    return subprocess.run(
        [sys.executable, "-c", clean(code), *arguments],
        env={**variables, **environment()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )


def clean(code: str) -> str:
    """Return code for `python -c` that imports nothing from the working directory."""
    return _CLEAN_PATH + code


def environment() -> dict[str, str]:
    """Return this process's variables without those that an own process must not have."""
    return {name: value for name, value in os.environ.items() if name not in (*_SWITCHES, *_HIDDEN)}


def lasting_environment() -> dict[str, str]:
    """Return `environment` for a process that leaves the working directory: its paths are absolute."""
    kept = environment()
    for name, value in kept.items():
        if name.endswith("_URI") and value.startswith(("sqlite", "file:")):
            with contextlib.suppress(FileNotFoundError):
                kept[name] = absolute(value)
        elif name.endswith(_PATHS) and ((value and name == "AUTOINSTRUMENT_HOME") or os.path.exists(value)):  # noqa: PTH110
            kept[name] = value if value.startswith("~") else _absolute(value.strip()) or value
    return kept


def import_path() -> list[str]:
    """Return the folders, absolute, that an own process may import from.

    `sys.path[0]` is the script's folder, unless Python was started with `-P` or `-I`.
    """
    script = _absolute(sys.argv[0]) if sys.argv and sys.argv[0] not in ("", "-c", "-m") else ""
    refused = {str(Path(script).resolve().parent) if script else "", _absolute(""), ""}
    return [path for path in map(_absolute, sys.path) if path not in refused]


def _absolute(path: str) -> str:
    """Return the absolute path; "" for a relative one whose working directory was deleted."""
    try:
        return os.path.abspath(path)  # noqa: PTH100  (`Path.absolute` keeps `..`)
    except FileNotFoundError:
        return ""
