"""Describe the training process: how it was started, where its code is, what it has loaded.

Runs in the training process, so it only looks at what is there; files, git and distributions are left to the worker.
"""

# os.path: pathlib would be one more module in a process that is not ours.
# ruff: noqa: PTH100, PTH109, PTH113, PTH117, PTH118, PTH119, PTH120, PTH123
from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from typing import Any

from autoinstrument.bootstrap.program import what_runs
from autoinstrument.capture import notebook
from autoinstrument.capture.hydra import job_arguments
from autoinstrument.integrations.argparse_values import parsed
from autoinstrument.records import Param, ProcessChanged, ProcessStarted

_INSTALLED = tuple(
    os.path.join(folder, "")
    for folder in (
        os.path.dirname(getattr(os, "__file__", "")),
        os.path.dirname(sys.executable or ""),
        os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    )
    if folder
)
"""Where the standard library, the commands of the environment, and this package are."""
_MOST_CALLERS, _MOST_FILES = 20, 500
_WORKERS = ("submitit.core._submit",)
"""Programs that run functions which another process has sent: neither they nor their arguments are the user's."""


class Changes:
    """What the process has come to hold since it was last reported.

    `describe` is the first report, each `changed` the next one.
    """

    def __init__(self) -> None:
        self._reported: set[str] = set()
        self._seen: tuple[int, str] = (0, "")

    def describe(self, cwd: str = "", callers: Iterable[str] = ()) -> ProcessStarted:
        """Return all that only the process itself knows.

        Args:
            cwd: the working directory that the process was started in, where known; the script may have moved.
            callers: what `own_files_on_stack` has given when the first run began.
        """
        kind, path, module, source = _main()
        return ProcessStarted(
            pid=os.getpid(),
            started_ms=_started_ms(),
            host=_host(),
            user=_user(),
            python="{}.{}.{}".format(*sys.version_info[:3]),
            executable=sys.executable or "",
            cwd=cwd or _cwd(),
            argv=[str(argument) for argument in getattr(sys, "argv", [])],
            main_kind=kind,
            main_path=path,
            main_module=module,
            source=source,
            sys_path=[_absolute(entry) for entry in list(sys.path) if isinstance(entry, str)],
            arguments=_arguments(kind, path, module),
            files=_own_files(cwd or _cwd(), os.path.dirname(path)),
            callers=list(callers),
            modules=self._new_modules(),  # last: it includes what the describing itself has loaded
        )

    def changed(self) -> ProcessChanged:
        """Return the modules loaded since the last report, and arguments and source as they are now."""
        kind, path, module, source = _main()
        return ProcessChanged(arguments=_arguments(kind, path, module), source=source, modules=self._new_modules())

    def _new_modules(self) -> list[str]:
        names = list(sys.modules)  # a copy: another thread may be importing
        seen = (len(names), names[-1])
        if seen == self._seen:  # new ones are at the end; of short runs, one after the other, most load none
            return []
        self._seen = seen
        new = {name for name in names if isinstance(name, str)} - self._reported
        self._reported |= new
        return sorted(new)


def is_launcher(path: str, module: str) -> bool:
    """Tell whether a process is MLflow's command line: what `mlflow run` starts goes on with the run that it made.

    Args:
        path: the process's `main_path`.
        module: its `main_module`.
    """
    return module == "mlflow" or os.path.basename(path) in ("mlflow", "mlflow.exe")


_main_file: str | None = None


def remember_main() -> None:
    """Keep the script's path: the interpreter (seen in 3.10 to 3.12) forgets it when the script has run."""
    global _main_file
    _main_file = getattr(sys.modules.get("__main__"), "__file__", None)


def describe(cwd: str = "") -> ProcessStarted:
    """Return a report that stands alone; `Changes` is for a process that reports again."""
    return Changes().describe(cwd)


def program_now() -> dict[str, Any]:
    """Return what `RunStarted` holds of the program that is beginning a run on this thread.

    Empty where that is the program of the whole process, with the arguments that the process was started with.
    """
    kind = path = module = ""
    job = job_arguments()
    if notebook.shell() is not None and _is_run_by_shell():
        kind, path, module, _ = _main()
    elif job and _main()[2] in _WORKERS and (files := own_files_on_stack()):
        kind, path = "script", files[-1]
    if not job and not kind:
        return {}
    return {"main_kind": kind, "main_path": path, "main_module": module, "arguments": job or parsed()}


def _own_files(*folders: str) -> dict[str, str]:
    """Return the files of loaded modules that are the user's own, by the modules' names, those in `folders` first."""
    found = {}
    for name, module in list(sys.modules.items()):  # a copy: another thread may be importing
        try:  # past the module's own ways to look up an attribute: a lazy one would be loaded
            file = object.__getattribute__(module, "__dict__").get("__file__")
        except AttributeError:  # anything may stand in for a module, as cffi's libraries do
            continue
        is_main = name in ("__main__", "__mp_main__")
        if isinstance(name, str) and isinstance(file, str) and file.endswith(".py") and not is_main and _is_own(file):
            found[name] = os.path.normpath(file)
    near = tuple(os.path.join(folder, "") for folder in folders if folder)
    return dict(sorted(found.items(), key=lambda item: not item[1].startswith(near))[:_MOST_FILES])


def own_files_on_stack() -> list[str]:
    """Return the files of the user's own code that this thread is running, from the innermost call outwards."""
    frame = sys._getframe(1)
    files: dict[str, None] = {}
    while frame is not None:
        file = frame.f_code.co_filename
        if not os.path.isabs(file):  # a script's name as it was typed: `__file__` has its folder too (Python 3.9+)
            file = frame.f_globals.get("__file__") or file
        if isinstance(file, str) and _is_own(file):
            files[file] = None
        frame = frame.f_back  # type: ignore[assignment]
    return list(files)[:_MOST_CALLERS]


def _is_own(file: str) -> bool:
    """Return True if a file is the user's own: it belongs to no installation and not to this package."""
    return (
        os.path.isabs(file)
        and "site-packages" not in file
        and "dist-packages" not in file
        and not file.startswith(_INSTALLED)
    )


def _is_run_by_shell() -> bool:
    """Return True if IPython runs a script (`ipython train.py`, `%run train.py`) and not typed input."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    # A notebook or IPython's own kind of script is run cell by cell. `%run -i` leaves `__file__` behind.
    return isinstance(file, str) and not file.endswith((".ipynb", ".ipy")) and _same(file, _program())


def _program() -> str:
    return str(sys.argv[0]) if getattr(sys, "argv", None) else ""


def _main() -> tuple[str, str, str, str]:
    """Return `main_kind`, `main_path`, `main_module` and `source`, see `ProcessStarted`."""
    shell = notebook.shell()
    if shell is not None and not _is_run_by_shell():
        kind = "notebook" if notebook.is_kernel(shell) else "interactive"
        return kind, notebook.path(shell), "", notebook.source(shell)
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None) or _main_file
    program = _program()
    if not isinstance(file, str) or file in ("", "<stdin>"):
        code = what_runs(getattr(sys, "orig_argv", [])[1:])[1] if program == "-c" else ""
        return ("command" if program == "-c" else "interactive"), "", "", code
    name = getattr(getattr(main, "__spec__", None), "name", None)
    if isinstance(name, str) and name != "__main__":
        # Profilers and the like (`python -m cProfile train.py`) run the script in their own __main__, as argv says.
        if program.endswith(".py") and os.path.isfile(program) and not _same(program, file):
            return "script", os.path.abspath(program), "", ""
        # `python -m package` runs package.__main__.
        return "module", os.path.abspath(file), name.removesuffix(".__main__"), ""
    if not os.path.isfile(file) and os.path.isfile(program):
        file = program  # a zip archive: __file__ is a name inside it
    return "script", os.path.abspath(file), "", ""


def _arguments(kind: str, path: str, module: str) -> list[Param]:
    """Return the command line; that of a notebook's kernel, or of a launcher, is not that of the run's code."""
    return [] if kind == "notebook" or is_launcher(path, module) else parsed()


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _cwd() -> str:
    # Hydra (seen in 1.3) may have moved the process into a folder of its own, and knows where it was started.
    hydra: Any = sys.modules.get("hydra.utils")
    if hydra is not None:
        try:
            return str(hydra.get_original_cwd())
        except Exception:  # noqa: S110 - Hydra is loaded but not in charge
            pass
    try:
        return os.getcwd()
    except OSError:  # the directory was deleted
        return ""


def _absolute(entry: str) -> str:
    """Return an entry of `sys.path` as it means in every working directory, as it is where that cannot be known."""
    try:
        return os.path.abspath(entry)
    except OSError:  # the directory was deleted
        return entry


def _started_ms() -> int:
    try:
        with open("/proc/self/stat", "rb") as file:
            # The second field, the program's name, may hold anything; starttime is the 20th after it, in clock ticks.
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        with open("/proc/uptime", "rb") as file:
            up_s = float(file.read().split()[0])
        running_s = up_s - ticks / os.sysconf("SC_CLK_TCK")
        # In a container uptime may be the container's own and starttime the host's.
        if running_s >= 0:
            return int((time.time() - running_s) * 1000)
    except (OSError, ValueError, IndexError, AttributeError):  # not Linux
        pass
    return int(time.time() * 1000)


def _host() -> str:
    try:
        return os.uname().nodename
    except AttributeError:  # Windows
        return os.environ.get("COMPUTERNAME", "")


def _user() -> str:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):  # the order of getpass.getuser
        if os.environ.get(variable):
            return os.environ[variable]
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):  # a container's user often has no name
        return ""
