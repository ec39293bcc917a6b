"""Find this user's workers on this machine, and ask them: the commands' side of the socket."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from autoinstrument.records import Record
from autoinstrument.transport import peer
from autoinstrument.transport.protocol import RECEIVE_BYTES, Reader, encode
from autoinstrument.transport.worker_folder import runtime_folders

_Answer = TypeVar("_Answer", bound=Record)


def folders() -> Iterator[Path]:
    """Yield the folders of workers where this process would look for one; the workers may be gone."""
    for runtime in runtime_folders():
        for path in sorted(Path(runtime).glob("autoinstrument-*/socket")):
            yield path.parent


def ask(folder: Path, request: Record, answer: type[_Answer], timeout_s: float) -> _Answer:
    """Send a request to the worker of a folder, and return its answer.

    Args:
        folder: the worker's.
        request: the record to send.
        answer: the type of the record to wait for; others are passed over.
        timeout_s: how long to wait in all.

    Raises:
        ConnectionRefusedError, FileNotFoundError: there is no worker any more.
        PermissionError: the worker is another user's.
        TimeoutError: there was no answer in time.
        EOFError: the worker has closed the connection, or has ended, without an answer.
        ValueError: the answer is not of this protocol: the worker is of another version.
        OSError: the connection is broken.
    """
    if sys.platform == "win32":
        raise FileNotFoundError("on Windows the worker is a thread of the training process")
    if folder.stat().st_uid != os.geteuid():
        raise peer.WrongUserError(f"{folder} belongs to another user")
    end = time.monotonic() + timeout_s
    reader = Reader()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        connection.connect(str(folder / "socket"))
        peer.check(connection)
        connection.sendall(encode([request]))
        while (left_s := end - time.monotonic()) > 0:
            connection.settimeout(left_s)
            data = connection.recv(RECEIVE_BYTES)
            if not data:
                raise EOFError("the worker has closed the connection")
            for record in reader.feed(data):
                if isinstance(record, answer):
                    return record
    raise TimeoutError(f"no answer within {timeout_s:.0f} s")
