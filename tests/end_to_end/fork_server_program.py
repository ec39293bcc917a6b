"""The fork server's program: it loads libraries, then forks a process for each program that it is asked for.

There are three servers. One has loaded MLflow, but nothing of the agent: scripts are forked from it, and the agent is
armed in them as in a notebook, after MLflow's import. The others are forks of it: one has loaded what models are made
with, too, the other one the agent and ClearML's SDK, for `autoinstrument` commands and workers.

Standard library only, and five modules of the tests, because this runs in the environment of the scripts.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import fcntl
import importlib
import json
import os
import pkgutil
import re
import runpy
import signal
import socket
import sys
import types
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

# As `fork_server.py` names the files beside this one.
from tests_cheap_stores import make_stores_cheap, use_store
from tests_forking import serve
from tests_process_end import end
from tests_sdk_configuration import parse_package

_SWITCHES = ("AUTOINSTRUMENT_ENABLED", "CLEARML_TASK_ID", "TRAINS_TASK_ID")
_PATIENCE = "TESTS_WORKER_PATIENCE_S"
"""A variable: seconds after which a worker that is alone gives up, instead of a minute, where a test waits for that."""
_REFERENCE = """
import sys, mlflow
mlflow.set_tracking_uri(f"sqlite:///{sys.argv[1]}/mlflow.db")
with mlflow.start_run() as run:
    mlflow.log_metric("loss", 1.0)
    mlflow.log_text("text", "text.txt")
mlflow.MlflowClient().search_runs([run.info.experiment_id])
"""
"""Modules whose import loads all that scripts and workers load."""
_MODULE = re.compile(r"\.(?:py|pyd|so|pth)(?:,|$)")
_MODELS = (
    "torch", "sklearn.linear_model", "skops.io", "mlflow.sklearn", "mlflow.pyfunc.loaders",
    "mlflow.store.model_registry.sqlalchemy_store", "mlflow.models.display_utils",
)  # fmt: skip
"""Modules of scripts that train or log a model, as far as they are installed: 5 s of CPU time."""
_SDK = (
    "clearml.backend_api", "clearml.backend_api.utils", "clearml.backend_interface.task", "clearml.config",
    "clearml.storage", "clearml.utilities.requests_toolbelt",
)  # fmt: skip


def main(scripts: int, models: int, agents: int, folder: str) -> None:
    """Load MLflow and serve the listening sockets, until standard input is closed."""
    _load_mlflow(folder)
    listeners = [socket.socket(fileno=file) for file in (scripts, models, agents)]
    serve(_start, listeners[0], {listeners[1]: _load_models, listeners[2]: _load_agent}, folder)


def _load_mlflow(folder: str) -> None:
    import mlflow  # noqa: F401

    listed = Path(folder, "modules.json")
    pid = os.fork()
    if pid == 0:  # a separate process, because MLflow keeps its settings
        sys.argv[1:] = [folder]
        with contextlib.suppress(Exception):
            exec(_REFERENCE, {})
        listed.write_text(json.dumps(list(sys.modules)))
        os._exit(0)
    os.waitpid(pid, 0)
    _import(name for name in json.loads(listed.read_text()) if not name.startswith("__"))
    with contextlib.suppress(Exception):  # mlflow-skinny, or another version: it takes longer
        make_stores_cheap()
        use_store(Path(folder, "mlflow.db"))


def _load_models() -> None:
    _import(_MODELS)


def _load_agent() -> None:
    import autoinstrument

    _import(_SDK)
    found = pkgutil.walk_packages(autoinstrument.__path__, "autoinstrument.", onerror=lambda _: None)
    _import(name for _, name, _ in found if not name.endswith("__main__"))
    for remember in (_remember_distributions, parse_package):
        with contextlib.suppress(Exception):  # another version: it takes longer
            remember()


def _remember_distributions() -> None:
    """Read the installed packages once; not those in the environment itself, where tests install and break things."""
    others = [path for path in sys.path if path.endswith("-packages") and not path.startswith(sys.prefix)]
    found: list[Any] = list(metadata.distributions(path=others))
    names = ("METADATA", "RECORD", "direct_url.json", "top_level.txt")
    texts = {(str(each._path), name): each.read_text(name) for each in found for name in names}
    for (path, name), text in texts.items():
        if name == "RECORD" and text:  # a hundred thousand lines, of which the agent looks at those with modules
            texts[path, name] = "\n".join(line for line in text.split("\n") if _MODULE.search(line))
    (kind,) = set(map(type, found))  # the standard library's, or that of the package `importlib_metadata`
    read = kind.read_text

    def read_text(self: Any, filename: str) -> str | None:
        key = str(self._path), filename
        return texts[key] if key in texts else read(self, filename)

    kind.read_text = read_text


def _import(names: Iterable[str]) -> None:
    for name in names:
        if name not in sys.modules:
            with contextlib.suppress(Exception):  # another version, or a name that a module has put there itself
                importlib.import_module(name)


def _start(request: dict[str, Any], received: list[int], connection: int) -> NoReturn:
    """Go on as the process that was asked for."""
    _put(dict(zip(request["numbers"], received, strict=True)), connection)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environ"])
    _name(request["command"])
    faulthandler.register(signal.SIGRTMAX - 1, all_threads=True)  # its stacks, should it hang
    if "umask" in request:
        _run_worker(request)
    if "path" in request:
        sys.path[:] = ["this file's folder", *request["path"]]
    _run(request["command"])


def _put(descriptors: dict[int, int], connection: int) -> None:
    """Give received descriptors their numbers, and close all others that are open."""
    above = max([*descriptors, *descriptors.values()]) + 1
    moved = {number: fcntl.fcntl(descriptor, fcntl.F_DUPFD, above) for number, descriptor in descriptors.items()}
    for number, descriptor in moved.items():
        os.dup2(descriptor, number)
    for descriptor in {*descriptors.values(), *moved.values(), connection} - {*descriptors}:
        os.close(descriptor)


def _name(command: list[str]) -> None:
    """Let `ps` show the command: it is written over the server's own (Linux)."""
    sys.orig_argv[:] = command
    with contextlib.suppress(OSError):
        begin, end = map(int, Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45:47])
        line = b"".join(os.fsencode(word) + b"\0" for word in command)
        ctypes.memmove(begin, line.ljust(end - begin, b"\0")[: end - begin - 1], end - begin - 1)


def _run_worker(request: dict[str, Any]) -> NoReturn:
    """Run the worker's program; its first fork lets the fork server's process end."""
    os.umask(request["umask"])
    if _PATIENCE in os.environ:
        service = importlib.import_module("autoinstrument.worker.service")
        service._LINGER_S = float(os.environ[_PATIENCE])  # type: ignore[attr-defined]
    program = next(word for word in request["command"] if word.endswith(".py"))
    sys.argv[:] = request["command"][request["command"].index(program) :]
    sys.path[:] = request["path"]
    runpy.run_path(program, run_name="__main__")
    os._exit(0)


def _run(command: list[str]) -> NoReturn:
    """Run this command line as the interpreter does, start-up files included."""
    sys.path.pop(0)  # this file's folder
    words = command[1:]
    if words[0] == "-u" or os.environ.get("PYTHONUNBUFFERED"):
        sys.stdout.reconfigure(write_through=True)
        words = words[words[0] == "-u" :]
    sys.argv[:] = words
    if any(map(os.environ.get, _SWITCHES)):  # as the start-up file does
        import autoinstrument

        autoinstrument.init()
    if words[0] == "-m":
        sys.argv[:] = words[1:]
        sys.path.insert(0, str(Path.cwd()))
        end(lambda: runpy.run_module(words[1], run_name="__main__", alter_sys=True))
    module = types.ModuleType("__main__")
    module.__dict__.update(__builtins__=__builtins__)
    sys.modules["__main__"] = module
    if words[0] == "-c":
        sys.argv[:] = ["-c", *words[2:]]
        sys.path.insert(0, "")
        end(lambda: exec(compile(words[1], "<string>", "exec"), module.__dict__))
    script = words[0]
    sys.path.insert(0, str(Path(script).resolve().parent))
    module.__dict__.update(__file__=str(Path(script).absolute()), __cached__=None)
    end(lambda: exec(compile(Path(script).read_bytes(), str(Path(script)), "exec"), module.__dict__))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), sys.argv[4])
