"""Start the worker, or find the one of another process: a detached process, or a thread where that is asked for.

The process is started through a double fork, so that `os.wait`, `psutil.children()` and job control of the training
process never see it, and with `-I`, so that it loads nothing of the working directory or of `PYTHON*` variables. It
works in `/`: the training's own directory may be deleted while the worker still delivers (a ClearML agent does so for
its next job), and every call that asks for the working directory would fail from then on.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from autoinstrument.transport import own_python, peer
from autoinstrument.transport.sockets import above_streams
from autoinstrument.worker import program

_PREFIX, _RUN = "autoinstrument-", "run-"
_CONNECT_S, _DETACH_S = 10.0, 30.0
_ONLY_A_THREAD = "the worker is a thread, and has one connection"
_LONGEST_FOLDER = 60
"""Characters of the folder above a worker's: the path of a Unix socket has 104 (macOS) to 108 bytes."""


class WorkerHandle:
    """A worker that was started or found.

    Attributes:
        folder: where its socket is, and what it shares with the training process.
        joined: another process has started it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        process: subprocess.Popen[bytes] | None = None,
        connection: socket.socket | None = None,
        joined: bool = False,
    ) -> None:
        """`process` must be waited for once; `connection` is that of a worker that is a thread of this process."""
        self.folder = folder
        self.joined = joined
        self._process = process
        self._connection = connection
        self._thread_of = os.getpid() if connection is not None else None

    @property
    def is_thread(self) -> bool:
        """True if the worker ends with this process."""
        return self._thread_of is not None

    def serves_this_process(self) -> bool:
        """Return False in a forked child of a process whose worker is a thread, which the child does not have."""
        return self._thread_of in (None, os.getpid())

    def publish(self, run_id: str) -> None:
        """Let other processes of this user on this machine find the run's worker.

        Raises:
            OSError: the folder is gone.
        """
        if self._thread_of is None:
            (self.folder / f"{_RUN}{run_id}").touch()

    def settle(self) -> None:
        """Wait for the double fork to finish, about 10 ms; not for the training thread.

        Raises:
            OSError: the worker did not start.
        """
        process, self._process = self._process, None
        if process is not None and process.wait(_DETACH_S) != 0:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise OSError(f"the worker did not start (exit code {process.returncode} of {sys.executable})")

    def connect(self) -> socket.socket:
        """Return a new connection to the worker.

        Raises:
            OSError: the worker does not listen any more.
        """
        if self._connection is not None:
            connection, self._connection = self._connection, None
            return connection
        if sys.platform == "win32":
            raise OSError(_ONLY_A_THREAD)
        connection = above_streams(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        try:
            connection.settimeout(_CONNECT_S)
            connection.connect(str(self.folder / "socket"))
            peer.check(connection)
        except OSError:
            connection.close()
            raise
        return connection


def start(kind: str) -> WorkerHandle:
    """Start a worker.

    A process can be connected to at once: its socket listens before the process exists.

    Args:
        kind: "process" or "thread", as `AUTOINSTRUMENT_WORKER` has it; without an interpreter, and on Windows, the
            worker is always a thread.

    Raises:
        OSError: no folder, no socket or no process could be made.
    """
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=next(iter(runtime_folders()), None)))
    try:
        if own_python.worker_kind(kind) == "process":
            return WorkerHandle(folder, process=_start_process(folder))
        return WorkerHandle(folder, connection=_start_thread(folder))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def find(run_id: str) -> WorkerHandle | None:
    """Return the worker that another process of this user on this machine has published for a run, None for none."""
    if sys.platform == "win32" or not re.fullmatch(r"[\w.-]+", run_id):
        return None
    for runtime in runtime_folders():
        for mark in Path(runtime).glob(f"{_PREFIX}*/{_RUN}{run_id}"):
            if mark.parent.stat().st_uid == os.getuid():
                return WorkerHandle(mark.parent, joined=True)
    return None


def runtime_folders() -> list[str]:
    """Return the folders, the best first, in which a worker's folder may be.

    `tempfile.gettempdir` would choose for the training too, which may set TMPDIR later, and takes two milliseconds.
    """
    folders = [*(os.environ.get(name, "") for name in ("XDG_RUNTIME_DIR", "TMPDIR", "TEMP", "TMP")), "/tmp"]  # noqa: S108
    absolute = [folder for folder in folders if os.path.isabs(folder)]  # noqa: PTH117
    return [folder for folder in absolute if len(folder) < _LONGEST_FOLDER and os.access(folder, os.W_OK)]


def _start_process(folder: Path) -> subprocess.Popen[bytes]:
    python = own_python.interpreter()
    if sys.platform == "win32" or python is None:
        raise OSError(_ONLY_A_THREAD)
    listener = above_streams(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    with listener:
        listener.bind(str(folder / "socket"))
        listener.listen(64)
        arguments = [str(listener.fileno()), str(folder), json.dumps(own_python.import_path()), python]
        # A signal to all processes of a job must not end the worker before it ignores signals, some milliseconds after
        # its start: it inherits this thread's mask, and lifts it then. The mask is read first, because a handler of the
        # script's may raise from within the call that sets it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            return subprocess.Popen(
                [own_python.shown_as(python, "autoinstrument worker"), "-I", "-S", _program(folder), *arguments],
                executable=python,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=own_python.lasting_environment(),
                pass_fds=[listener.fileno()],
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _program(folder: Path) -> str:
    """Return the path of the worker's program: a copy in the worker's folder if it is inside a zip archive."""
    if os.path.isfile(program.__file__):  # noqa: PTH113
        return program.__file__
    copy = folder / "program.py"
    copy.write_text(inspect.getsource(program), "utf-8")
    return str(copy)


def _start_thread(folder: Path) -> socket.socket:
    from autoinstrument.worker.service import serve

    here, there = map(above_streams, socket.socketpair())
    threading.Thread(target=serve, args=(there, folder), name="autoinstrument-worker", daemon=True).start()
    return here
