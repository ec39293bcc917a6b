"""Run scripts in forks of a process that has loaded what MLflow loads: a fifth of the CPU time of a new interpreter.

Of the 3.4 s of CPU time of a script that logs one metric, importing the libraries that MLflow needs takes two, and the
interpreter's end most of the rest. The fork server loads these libraries once, but neither MLflow nor the agent: each
script imports MLflow itself, so that the agent's import hooks work as they do in a new interpreter.

This file is also the server's program. It uses the standard library only, because it runs in the environment of the
scripts.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from tests.startup.environment import Environment

_LEFT_OUT = ("mlflow", "autoinstrument", "clearml", "wrapt", "__")
"""Modules that each script loads itself."""
_REFERENCE = """
import json, pathlib, sys
import mlflow
mlflow.set_tracking_uri(f"sqlite:///{sys.argv[1]}/mlflow.db")
with mlflow.start_run():
    mlflow.log_metric("loss", 1.0)
    mlflow.log_text("text", "text.txt")
pathlib.Path(sys.argv[1], "modules.json").write_text(json.dumps(list(sys.modules)))
"""


class ForkServer:
    """The tests' side: starts the server, and processes by it."""

    def __init__(self, environment: Environment, folder: Path) -> None:
        """`folder` must be short enough for the path of a socket."""
        self.python = str(environment.python)
        # Below site-packages it is none of the user's own files, which the agent finds by the frames on the stack.
        program = environment.site_packages / "tests_fork_server.py"
        program.write_text(Path(__file__).read_text())
        self._path = str(folder / "socket")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self._path)
            listener.listen(16)
            self._process = subprocess.Popen(
                [self.python, str(program), str(listener.fileno()), str(folder)],
                cwd=folder, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,  # as the scripts have them: a file could be sought in
                pass_fds=[listener.fileno()],
                env={key: value for key, value in os.environ.items() if not key.startswith(_SETTINGS)},
            )  # fmt: skip

    def can_run(self, command: list[str], environ: dict[str, str]) -> bool:
        """Return True if a fork behaves as a new interpreter would with this command line and these variables."""
        is_known = command[0] == self.python and (
            command[1].endswith(".py") or command[1:3] == ["-m", "autoinstrument"]
        )
        return is_known and not any(key.startswith(_SETTINGS_AT_START) for key in environ)

    def fork(
        self, command: list[str], folder: str, environ: dict[str, str], streams: list[int]
    ) -> tuple[int, socket.socket]:
        """Start a command; return its process id, and a socket that will have its status as `os.waitpid` gives it."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._path)
        request = json.dumps([command, folder, environ]).encode()
        socket.send_fds(connection, [len(request).to_bytes(8, "little")], streams)
        connection.sendall(request)
        return int.from_bytes(_received(connection, 8), "little"), connection

    def stop(self) -> None:
        """End the server; processes that it has started go on."""
        self._process.kill()
        self._process.wait()


class ForkedProcess(subprocess.Popen[bytes]):
    """A process of the fork server's, to be used as any other.

    Overrides three private methods of `subprocess.Popen` (the same in Python 3.10 to 3.13): who starts the process,
    and who knows how it ended.
    """

    def __init__(self, server: ForkServer, command: list[str], **options: Any) -> None:
        self._server = server
        super().__init__(command, **options)

    def _execute_child(self, args: Any, executable: Any, preexec_fn: Any, *rest: Any) -> None:
        _close_fds, _pass_fds, cwd, env, _startupinfo, _creationflags, _shell, *pipes = rest[:13]
        p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite = pipes
        self.pid, self._status = self._server.fork(list(args), str(cwd), env, [p2cread, c2pwrite, errwrite])
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self.returncode is None:
            pid, status = self._try_wait(os.WNOHANG)
            if pid == self.pid:
                self._handle_exitstatus(status)
        return self.returncode

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if wait_flags & os.WNOHANG and not select.select([self._status], [], [], 0)[0]:
            return 0, 0
        status = int.from_bytes(_received(self._status, 8), "little")
        self._status.close()
        return self.pid, status


_SETTINGS = ("AUTOINSTRUMENT_", "CLEARML_", "TRAINS_", "MLFLOW_", "PYTHON", "PYTEST", "COV_")
_SETTINGS_AT_START = ("PYTHON", "LC_", "LANG", "LD_")
"""Variables that Python or its libraries read when they start."""


_SWITCHES = ("AUTOINSTRUMENT_ENABLED", "CLEARML_TASK_ID", "TRAINS_TASK_ID")


def _received(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise AssertionError("the fork server is gone")
        data += part
    return data


# The server's side


def main(file: int, folder: str) -> None:
    """Load the libraries, then fork a process for each connection."""
    listener = socket.socket(fileno=file)
    _load_libraries(folder)
    tempfile.tempdir = None
    gc.collect()
    gc.freeze()  # neither the children's collections nor their ends look through what is loaded here
    while True:
        connection, _ = listener.accept()
        with connection:
            if os.fork() == 0:
                listener.close()
                os.closerange(file, file + 1)
                _keep(connection)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _load_libraries(folder: str) -> None:
    subprocess.run([sys.executable, "-c", _REFERENCE, folder], check=True, cwd=folder, env=dict(os.environ))
    for name in json.loads(Path(folder, "modules.json").read_text()):
        if not name.startswith(_LEFT_OUT) and name not in sys.modules:
            with contextlib.suppress(Exception):  # a name that a module has put there itself
                importlib.import_module(name)


def _keep(connection: socket.socket) -> NoReturn:
    """Start the process that a connection asks for, and wait for it: only its parent learns how it ended."""
    header, streams, _, _ = socket.recv_fds(connection, 8, 3)
    header += _received(connection, 8 - len(header)) if len(header) < 8 else b""
    command, folder, environ = json.loads(_received(connection, int.from_bytes(header, "little")))
    pid = os.fork()
    if pid == 0:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        for descriptor in {*streams, connection.detach()}:
            os.close(descriptor)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environ)
        _run(command)
    os.closerange(0, 3)
    for stream in streams:
        os.close(stream)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # for the script, where its whole group is signalled
    with contextlib.suppress(OSError):  # the tests are over
        connection.sendall(pid.to_bytes(8, "little"))
        _, status = os.waitpid(pid, 0)
        connection.sendall(status.to_bytes(8, "little"))
    os._exit(0)


def _run(command: list[str]) -> NoReturn:
    """Do what the interpreter does with this command line, start-up files included."""
    sys.orig_argv[:] = command
    sys.argv[:] = command[1:]
    sys.path.pop(0)  # this file's folder
    if any(map(os.environ.get, _SWITCHES)):  # as the start-up file does
        import autoinstrument

        autoinstrument.init()
    if command[1] == "-m":
        sys.argv[:] = command[2:]
        sys.path.insert(0, str(Path.cwd()))
        name = command[2]
        _end(lambda: runpy.run_module(name, run_name="__main__", alter_sys=True))
    script = command[1]
    sys.path.insert(0, str(Path(script).resolve().parent))
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=str(Path(script).absolute()), __builtins__=__builtins__, __cached__=None)
    sys.modules["__main__"] = module
    _end(lambda: exec(compile(Path(script).read_bytes(), str(Path(script)), "exec"), module.__dict__))


def _end(program: Callable[[], object]) -> NoReturn:
    """Run a program, and end the process as the interpreter would."""
    try:
        program()
    except SystemExit:
        raise
    except BaseException as error:
        traceback = error.__traceback__
        for _ in range(2):  # the frames of this file
            traceback = traceback and traceback.tb_next
        sys.last_type, sys.last_value, sys.last_traceback = type(error), error, traceback
        sys.excepthook(type(error), error, traceback)
        if isinstance(error, KeyboardInterrupt):  # the interpreter ends by the signal, after its exit handlers
            import atexit

            atexit._run_exitfuncs()
            sys.stdout.flush()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        sys.exit(1)
    sys.exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
