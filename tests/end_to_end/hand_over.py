"""Run at the start of an interpreter of the tests: hand its program and open descriptors over to the fork server.

The fork server then goes on with the same program in a process that has loaded everything. A worker's interpreter ends
then, as its own first fork would; any other one stays, passes signals on, and ends as the program does. It uses the
standard library only, and little of it: a start-up file of the tests imports it in the environment of the scripts.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VARIABLE = "TESTS_FORK_SERVER_OF_WORKERS"
"""The path of the socket of the server that forks workers; where it is not set, or empty, they are new interpreters."""
PROGRAMS = "TESTS_FORK_SERVER_OF_PROGRAMS"
"""Where it is set, scripts and commands that other programs start in this environment are handed over, too."""
FRAME = struct.Struct("<Q")
"""Header of a request, which comes with the descriptors: the request's size in bytes."""

_LATE = {
    "API_HOST", "WEB_HOST", "FILES_HOST", "API_ACCESS_KEY", "API_SECRET_KEY", "CONFIG_FILE",
    "LOG_LEVEL", "WORKER_ID", "WORKER_NAME", "AGENT_QUEUE_POLL_FREQ_SEC",
    "AGENT_SKIP_PYTHON_ENV_INSTALL", "AGENT_SKIP_PIP_VENV_INSTALL",
}  # fmt: skip
"""Ends of the names of ClearML's variables that its SDK does not read when it is imported, as it may any other."""


_KNOWN = {"PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONPATH"}
"""Python's variables that the server heeds, by `sys.path` and for the streams."""
_OWN_PROCESS = "import os, sys\nhere = os.path.realpath"
"""Beginning of the code that `transport/own_python.py` starts."""
_PASSED_ON = (1, 2, 10, 12, 15)
"""SIGHUP, SIGINT, SIGUSR1, SIGUSR2, SIGTERM (Linux)."""


def hand_over() -> None:
    """Let the fork server continue this process, if it can, and end this one."""
    is_worker = sys.argv[0].endswith("worker/program.py")
    server = "agents" if is_worker else _server_of(sys.orig_argv[1:])
    if not server or (server == "agents" and _is_configured()):
        return
    path = os.path.join(os.path.dirname(os.environ[VARIABLE]), server)  # noqa: PTH118, PTH120  (pathlib is not loaded)
    connection = socket.socket(socket.AF_UNIX)
    with contextlib.suppress(OSError):  # the tests are over, or this is another user's process
        if os.stat(path).st_uid != os.getuid():  # noqa: PTH116  (pathlib is not loaded)
            return
        connection.connect(path)
        opened = map(int, os.listdir("/dev/fd"))  # noqa: PTH208  (pathlib is not loaded)
        descriptors = {number: number for number in opened if _is_open(number) and number != connection.fileno()}
        request = {"command": sys.orig_argv, "folder": "/", "environ": dict(os.environ), "path": sys.path}
        if is_worker:
            del request["environ"][VARIABLE]
            request |= {"umask": os.umask(0)}
        else:
            request |= {"folder": os.getcwd(), "followed": True}  # noqa: PTH109  (pathlib is not loaded)
        ask(connection, request, descriptors)
        pid = int.from_bytes(receive(connection, 8), "little")
        if is_worker:
            os._exit(0)
        _follow(pid, connection)


def _is_configured() -> bool:
    """Return True if there are variables that the server's SDK has not read, because it was imported before."""
    return any(name.startswith(("CLEARML_", "TRAINS_")) and name.partition("_")[2] not in _LATE for name in os.environ)


def _server_of(words: list[str]) -> str:
    """Return the name of the server that can go on with a command line, "" for none."""
    settings = {name for name in os.environ if name.startswith("PYTHON")} - _KNOWN
    if settings or not words or sys.flags.isolated:
        return ""
    if words[0] == "-c" and words[1].startswith(_OWN_PROCESS):
        return "" if os.environ.get("PYTHONPATH") else "agents"
    if PROGRAMS not in os.environ:
        return ""
    words = words[words[0] == "-u" :]
    if words[:2] == ["-m", "autoinstrument"] or words[0].endswith("/bin/autoinstrument"):
        return "agents"
    if not words[0].endswith(".py"):
        return ""
    with contextlib.suppress(OSError), open(words[0], errors="replace") as file:  # noqa: PTH123  (pathlib is not loaded)
        text = file.read()
        return "models" if any(word in text for word in ("sklearn", "torch", "log_model")) else "scripts"
    return ""


def _follow(pid: int, connection: socket.socket) -> None:
    """Pass signals on to the process that goes on with this one's program, and end as it does."""
    import signal

    for number in _PASSED_ON:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: os.kill(pid, number))
    status = int.from_bytes(receive(connection, 8), "little")
    if os.WIFSIGNALED(status):
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status))


def _is_open(number: int) -> bool:
    with contextlib.suppress(OSError):
        os.fstat(number)
        return True
    return False


def receive(connection: socket.socket, size: int) -> bytes:
    """Return the next bytes of a connection."""
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise AssertionError("the fork server is gone")
        data += part
    return data


def ask(connection: socket.socket, request: dict[str, Any], descriptors: dict[int, int]) -> None:
    """Send a request, and descriptors by the numbers that they will have in the new process."""
    data = json.dumps({**request, "numbers": list(descriptors)}).encode()
    socket.send_fds(connection, [FRAME.pack(len(data))], list(descriptors.values()))
    connection.sendall(data)
