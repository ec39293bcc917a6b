"""What a worker's interpreter runs when it starts: it hands over to the fork server what it has open, and ends.

The fork server then goes on with the same program in a process that has loaded everything. Standard library only, and
little of it: this runs in the environment of the scripts, where a start-up file of the tests imports it.
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
"""The path of the socket of the server that forks workers; where it is not set they are new interpreters."""
FRAME = struct.Struct("<Q")
"""What comes before a request, and with the descriptors: the request's size in bytes."""

_LATE = {
    "API_HOST", "WEB_HOST", "FILES_HOST", "API_ACCESS_KEY", "API_SECRET_KEY", "CONFIG_FILE",
    "LOG_LEVEL", "WORKER_ID", "WORKER_NAME", "AGENT_QUEUE_POLL_FREQ_SEC",
    "AGENT_SKIP_PYTHON_ENV_INSTALL", "AGENT_SKIP_PIP_VENV_INSTALL",
}  # fmt: skip
"""Ends of the names of ClearML's variables that its SDK does not read when it is imported, as it may any other."""


def hand_over() -> None:
    """Have the fork server go on with this process, where it is a worker's, and end it."""
    if not sys.argv[0].endswith("worker/program.py"):
        return
    path = os.environ.pop(VARIABLE)
    if any(name.startswith(("CLEARML_", "TRAINS_")) and name.partition("_")[2] not in _LATE for name in os.environ):
        return
    connection = socket.socket(socket.AF_UNIX)
    with contextlib.suppress(OSError):  # the tests are over, or this is another user's process
        if os.stat(path).st_uid != os.getuid():  # noqa: PTH116  (pathlib is not loaded)
            return
        connection.connect(path)
        opened = map(int, os.listdir("/dev/fd"))  # noqa: PTH208  (pathlib is not loaded)
        descriptors = {number: number for number in opened if _is_open(number) and number != connection.fileno()}
        request = {"command": sys.orig_argv, "folder": "/", "environ": dict(os.environ)}
        request |= {"path": sys.path, "umask": os.umask(0)}
        ask(connection, request, descriptors)
        receive(connection, 8)
        os._exit(0)


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
