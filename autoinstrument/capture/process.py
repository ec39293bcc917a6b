"""Describe the training process: how it was started, where its code is, what it has loaded.

Runs in the training process, and only reads what is loaded there; the worker reads files, Git and distributions.
"""

# os.path: pathlib would be one more module in the user's process.
# ruff: noqa: PTH100, PTH109, PTH113, PTH119, PTH120
from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from typing import Any

from autoinstrument.bootstrap.program import what_runs
from autoinstrument.capture import notebook, own_files
from autoinstrument.capture.hydra import job_arguments
from autoinstrument.capture.job_scheduler import job_of
from autoinstrument.child_console.process_name import process_name
from autoinstrument.integrations.argument_words import read_line
from autoinstrument.integrations.hydra_config import configuration
from autoinstrument.integrations.parsed_arguments import help_texts, parsed
from autoinstrument.records import CommandLine, Param, ProcessChanged, ProcessStarted

_DEVICES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
_WORKERS = ("submitit.core._submit",)
"""Programs that run functions which another process has sent: neither the program nor its arguments are the user's."""


class Changes:
    """Describes the process, and then what has changed in it.

    `describe` makes the first report, each `changed` the next one.
    """

    def __init__(self) -> None:
        self._reported: set[str] = set()
        self._seen: tuple[int, str] = (0, "")

    def describe(self, cwd: str = "", callers: Iterable[str] = ()) -> ProcessStarted:
        """Return everything that only the process itself knows.

        Args:
            cwd: the working directory in which the process was started, "" if not known; the script may have left it.
            callers: the result of `own_files.on_stack` when the first run began.
        """
        kind, path, module, source = _main()
        return ProcessStarted(
            pid=os.getpid(),
            started_ms=int(time.time() * 1000),  # alive now: the worker asks the system when it was created
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
            files=own_files.loaded(cwd or _cwd(), os.path.dirname(path)),
            callers=list(callers),
            devices={name: os.environ[name] for name in _DEVICES if name in os.environ},
            configuration=configuration(),
            command_line=_command_line(kind, path, module),
            help_texts=help_texts(),
            node=_node(),
            job=job_of(os.environ),
            name=process_name(),
            modules=self._new_modules(),  # last, because the lines above load modules, too
        )

    def changed(self) -> ProcessChanged:
        """Return the modules loaded since the last report, and arguments and source as they are now."""
        kind, path, module, source = _main()
        return ProcessChanged(
            arguments=_arguments(kind, path, module),
            source=source,
            configuration=configuration(),
            command_line=_command_line(kind, path, module),
            help_texts=help_texts(),
            modules=self._new_modules(),
        )

    def _new_modules(self) -> list[str]:
        names = list(sys.modules)  # a copy: another thread may be importing
        seen = (len(names), names[-1])
        if seen == self._seen:  # new ones are at the end; most short runs load none
            return []
        self._seen = seen
        new = {name for name in names if isinstance(name, str)} - self._reported
        self._reported |= new
        return sorted(new)


def is_launcher(path: str, module: str) -> bool:
    """Return True if a process is MLflow's command line: the program that `mlflow run` starts resumes its run.

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


def program_now() -> dict[str, Any]:
    """Return the fields of `RunStarted` that describe the program beginning a run on this thread.

    Empty if it is the program of the whole process, with the arguments that the process was started with.
    """
    kind = path = module = ""
    job = job_arguments()
    if notebook.shell() is not None and _is_run_by_shell():
        kind, path, module, _ = _main()
    elif job and _main()[2] in _WORKERS and (files := own_files.on_stack()):
        kind, path = "script", files[-1]
    if not job and not kind:
        return {}
    program = {"main_kind": kind, "main_path": path, "main_module": module, "arguments": job or parsed()}
    program["configuration"] = configuration()
    return program if job else {**program, "command_line": read_line()}


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
        option, code = what_runs(sys.orig_argv[1:])  # a debugger (`python -m debugpy -c …`) keeps the code to itself
        is_command = program == "-c"
        return ("command" if is_command else "interactive"), "", "", (code if is_command and option == "c" else "")
    name = getattr(getattr(main, "__spec__", None), "name", None)
    if isinstance(name, str) and name != "__main__":
        # Profilers and the like (`python -m cProfile train.py`) run the script in their own __main__, as argv says.
        if program.endswith(".py") and os.path.isfile(program) and not _same(program, file):
            return "script", os.path.abspath(program), "", ""
        name, file = _profiled_module(program) or (name, file)
        # `python -m package` runs package.__main__.
        return "module", os.path.abspath(file), name.removesuffix(".__main__"), ""
    if not os.path.isfile(file) and os.path.isfile(program):
        file = program  # a zip archive: __file__ is a name inside it
    return "script", os.path.abspath(file), "", ""


def _profiled_module(program: str) -> tuple[str, str] | None:
    """Return name and file of the module that a profiler runs (`python -m cProfile -m package`), None for none.

    Such a profiler leaves the module's name in `sys.argv[0]`, where the module itself would have its path.
    """
    words = list(sys.orig_argv)
    if "-m" not in words or ["-m", program] not in [
        words[at : at + 2] for at in range(words.index("-m") + 2, len(words))
    ]:
        return None
    from importlib.util import find_spec

    try:
        spec = find_spec(program)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = find_spec(f"{program}.__main__")
    except Exception:  # whatever a finder of the user's raises
        return None
    return None if spec is None or spec.origin is None else (spec.name, spec.origin)


def _arguments(kind: str, path: str, module: str) -> list[Param]:
    """Return the command line; [] for a notebook's kernel and a launcher, whose arguments are not those of the code."""
    return [] if kind == "notebook" or is_launcher(path, module) else parsed()


def _command_line(kind: str, path: str, module: str) -> CommandLine | None:
    return None if kind == "notebook" or is_launcher(path, module) else read_line()


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _cwd() -> str:
    # Hydra (seen in 1.3) may have moved the process into the job's folder, and knows where it was started.
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
    """Return an entry of `sys.path` as an absolute path, or unchanged if the working directory was deleted."""
    try:
        return os.path.abspath(entry)
    except OSError:  # the directory was deleted
        return entry


def _host() -> str:
    if sys.platform == "win32":
        return os.environ.get("COMPUTERNAME", "")
    return os.uname().nodename


def _node() -> int:
    """Return the number of this machine in a distributed training, by the variables that ClearML's monitor reads.

    See `ResourceMonitor.daemon` (clearml 1.16 to 2.1.12): those of torchrun, Lightning, Slurm, and launchers like them.
    """
    variables = os.environ
    try:
        for name in ("GROUP_RANK", "NODE_RANK"):
            if name in variables:
                return int(variables[name])
        if "RANK" in variables and "LOCAL_RANK" in variables and "LOCAL_WORLD_SIZE" in variables:
            return (int(variables["RANK"]) - int(variables["LOCAL_RANK"])) // int(variables["LOCAL_WORLD_SIZE"])
        return int(variables.get("RANK", variables.get("SLURM_NODEID", "0")))
    except (ValueError, ZeroDivisionError):
        return 0


def _user() -> str:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):  # the order of getpass.getuser
        if os.environ.get(variable):
            return os.environ[variable]
    if sys.platform == "win32":
        return ""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user often has no name
        return ""
