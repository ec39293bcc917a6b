"""Start the agent's own Python processes, without what they must not inherit from the process that starts them.

The folder of the script and the working directory are not on their path: a `logging.py` in it belongs to the user.
They are not instrumented, and no `Task.init` or ClearML agent counts them among its processes.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

from autoinstrument.guard import logger
from autoinstrument.mlflow_store.urls import absolute

_SWITCHES = ("AUTOINSTRUMENT_ENABLED", "AUTOINSTRUMENT_EXPLAIN")
_HIDDEN = (
    # ClearML's SDK reads these when it is imported.
    "CLEARML_TASK_ID", "TRAINS_TASK_ID", "CLEARML_PROC_MASTER_ID", "TRAINS_PROC_MASTER_ID",
    "CLEARML_LOG_TASK_TO_BACKEND", "TRAINS_LOG_TASK_TO_BACKEND", "CLEARML_OFFLINE_MODE", "TRAINS_OFFLINE_MODE",
)  # fmt: skip
_PATHS = ("_FILE", "_PATH", "_DIR", "_HOME", "_BUNDLE", "_CREDENTIALS", "_URI")
"""Ends of the names of variables that hold a path: `CLEARML_CONFIG_FILE`, `REQUESTS_CA_BUNDLE`, and many more."""
_HOME = str(Path(__file__).resolve().parents[2])
_NAME = re.compile(r"(?:python|pypy|graalpy)[\w.-]*", re.IGNORECASE)
"""File names of interpreters. Others are programs that embed one: `uwsgi`, `httpd`, `blender`."""
_PACKED = ("frozen", "_MEIPASS", "oxidized")
"""Attributes of `sys` in programs made by PyInstaller, cx_Freeze, py2exe, py2app, PyOxidizer."""
_warned = False
# The package's own folder comes last: in a checkout it may be the working directory.
_CLEAN_PATH = f"""\
import os, sys
here = os.path.realpath(".")
sys.path[:] = [path for path in sys.path if path and os.path.realpath(path) != here] + [{_HOME!r}]
"""


class NoPythonError(OSError):
    """This process's program is not a Python interpreter, and none is known beside it."""

    def __init__(self) -> None:
        super().__init__(f"{sys.executable or 'this program'} is not a Python interpreter")


def interpreter() -> str | None:
    """Return the path of an interpreter of this process's Python; None if the agent can start no process.

    `sys.executable` is the program itself where Python is frozen into it or embedded in it: to run that would run the
    user's training a second time. So no program is run here to find out what it is.
    """
    main = sys.modules.get("__main__")
    compiled = globals().get("__compiled__") or getattr(main, "__compiled__", None)  # by Nuitka
    if any(hasattr(sys, name) for name in _PACKED) or getattr(compiled, "standalone", False):
        return None
    name = "python{}.{}".format(*sys.version_info)
    beside = [str(Path(prefix, "bin", name)) for prefix in (sys.prefix, sys.base_prefix)]
    found = [sys.executable, getattr(sys, "_base_executable", None), *beside]
    return next((path for path in found if path and _is_interpreter(path)), None)


def _is_interpreter(path: str) -> bool:
    if not os.path.isabs(path) or not _NAME.fullmatch(os.path.basename(path)):  # noqa: PTH117, PTH119
        return False
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except OSError:
        return False
    if not stat.S_ISREG(mode) or not mode & 0o111:  # `os.access` does not count capabilities of the process
        return False
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read(2) != b"#!"  # profilers may put a script of that name in its place
    except OSError:  # it may be run, but not read
        return True


def shown_as(executable: str, title: str) -> str:
    """Return the first word of a command line, so that `ps` shows a title for a process that runs an interpreter.

    The word is a path in the interpreter's folder: from that Python finds `pyvenv.cfg` and its library (CPython 3.10
    to 3.13). Debuggers and profilers rewrite the command lines of programs whose first word contains "python" (debugpy
    1.8, VizTracer 1.1): then the agent's processes would be debugged and profiled, too.
    """
    if sys.platform in ("win32", "darwin"):  # there Python finds itself in other ways
        return executable
    in_environment = sys.prefix != sys.base_prefix and executable.startswith(sys.prefix)
    return str(Path(executable if in_environment else os.path.realpath(executable)).parent / title)


def worker_kind(kind: str) -> str:
    """Return "process" if that is asked for and a process can be started, else "thread"; log once if it cannot.

    Args:
        kind: "process" or "thread".
    """
    global _warned
    if kind != "process" or sys.platform == "win32":
        return "thread"
    if interpreter() is not None:
        return "process"
    if not _warned:
        _warned = True
        logger().warning("%s, so the worker is a thread of it, as with AUTOINSTRUMENT_WORKER=thread", NoPythonError())
    return "thread"


def run(
    code: str, *arguments: str, timeout_s: float | None, text: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run code in a new process, in this working directory, and wait for it.

    Args:
        code: Python text; `sys.argv[1:]` are the arguments.
        arguments: words for the code.
        timeout_s: seconds until the process is killed, None for never.
        text: what the code can read from its standard input.
        variables: set where this process's environment has none of that name.

    Raises:
        OSError: the process cannot be started.
        NoPythonError: there is no interpreter.
        subprocess.TimeoutExpired: it was killed.
    """
    if (python := interpreter()) is None:
        raise NoPythonError
    return subprocess.run(
        [shown_as(python, "autoinstrument helper"), "-c", clean(code, python), *arguments],
        executable=python,
        env={**variables, **environment()},
        input=text,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )


def clean(code: str, python: str) -> str:
    """Return code for `python -c` that imports nothing from the working directory.

    Args:
        code: Python text.
        python: path of the interpreter that will run it.
    """
    return f"import sys; sys.executable = {python!r}\n{_CLEAN_PATH}{code}"


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
