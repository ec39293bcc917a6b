"""The tests' side of the fork server: processes that start as copies of one that has loaded what they need.

Importing MLflow and what it needs takes a new interpreter 3 s of CPU time, and the worker, which loads ClearML's SDK
too, as much again; a fork takes a tenth of that. What differs from a new interpreter: in `fork_server_program.py`, the
server's side. A test of the interpreter's start or end uses a new one: `Place.start(..., fresh=True)`.
"""

from __future__ import annotations

import os
import re
import select
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.end_to_end.hand_over import VARIABLE, ask, receive
from tests.startup.environment import Environment

_SETTINGS = ("AUTOINSTRUMENT_", "CLEARML_", "TRAINS_", "MLFLOW_", "PYTHON", "PYTEST", "COV_")
_READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_")
"""Variables that Python or its libraries read when they start."""
_READ_AT_IMPORT = {"MLFLOW_LOGGING_LEVEL", "MLFLOW_CONFIGURE_LOGGING"}
"""Variables that MLflow reads when it is imported (mlflow 2.16 to 3.17)."""
_PROGRAM = "tests_fork_server.py"
_SOCKETS = ("scripts", "models", "agents")
_PADDING = "." * 2048
"""An argument of the server: room for its children's command lines."""


def install(environment: Environment) -> None:
    """Put the server's program, its modules, and what hands processes over to it, into an environment."""
    # Below site-packages it is none of the user's own files, which the agent finds by the frames on the stack.
    here, there = Path(__file__).parent, environment.site_packages
    (there / _PROGRAM).write_text((here / "fork_server_program.py").read_text())
    for name in ("hand_over", "cheap_stores", "forking", "process_end", "sdk_configuration"):
        (there / f"tests_{name}.py").write_text((here / f"{name}.py").read_text())
    (there / "tests_hand_over.pth").write_text(
        f"import os; os.environ.get({VARIABLE!r}) and __import__('tests_hand_over').hand_over()\n"
    )


def start(environment: Environment, standard_input: int) -> str:
    """Start the servers in an environment that has their program; they end when their standard input is closed.

    Returns:
        The folder with their sockets, which they remove. Its path is short: that of a socket must be.
    """
    folder = Path(tempfile.mkdtemp(prefix="e2e-"))
    listeners = [socket.socket(socket.AF_UNIX) for _ in _SOCKETS]
    for listener, name in zip(listeners, _SOCKETS, strict=True):
        listener.bind(str(folder / name))
        listener.listen(64)
    descriptors = [listener.fileno() for listener in listeners]
    program = environment.site_packages / _PROGRAM
    subprocess.Popen(
        [environment.python, str(program), *map(str, descriptors), str(folder), _PADDING],
        cwd=folder, stdin=standard_input,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,  # as the scripts have them: a file could be sought in
        pass_fds=descriptors, start_new_session=True,  # Ctrl-C is for the tests, which need some time to end
        env={key: value for key, value in os.environ.items() if not key.startswith(_SETTINGS)}
        | {"MLFLOW_DISABLE_TELEMETRY": "true"},  # it would start a thread
    )  # fmt: skip
    for listener in listeners:
        listener.close()
    return str(folder)


class ForkServer:
    """Starts processes by servers that run.

    Attributes:
        environ: variables for a process whose workers are to be forks, too.
    """

    def __init__(self, environment: Environment, folder: str) -> None:
        self.python = str(environment.python)
        self._scripts, self._models, self._agents = (f"{folder}/{name}" for name in _SOCKETS)
        self.environ = {VARIABLE: self._agents}

    def can_run(self, command: list[str], environ: dict[str, str]) -> bool:
        """Return True if a fork behaves as a new interpreter would with this command line and these variables."""
        is_known = command[0] == self.python and (command[1].endswith(".py") or self._is_agents(command))
        return is_known and not any(key.startswith(_READ_AT_START) or key in _READ_AT_IMPORT for key in environ)

    def fork(
        self, command: list[str], folder: str, environ: dict[str, str], streams: list[int]
    ) -> tuple[int, socket.socket]:
        """Start a command; return its process id, and a socket that will have its status as `os.waitpid` gives it."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._server_of(command, Path(folder)))
        descriptors = dict(enumerate(streams))
        ask(connection, {"command": command, "folder": folder, "environ": environ}, descriptors)
        return int.from_bytes(receive(connection, 8), "little"), connection

    def _server_of(self, command: list[str], folder: Path) -> str:
        if self._is_agents(command):
            return self._agents
        script = (folder / command[1]).read_text(errors="replace")
        return self._models if re.search(r"sklearn|torch|log_model", script) else self._scripts

    def _is_agents(self, command: list[str]) -> bool:
        return command[1:3] == ["-m", "autoinstrument"]


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
        status = int.from_bytes(receive(self._status, 8), "little")
        self._status.close()
        return self.pid, status
