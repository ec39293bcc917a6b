"""Start the worker: a process of its own that is nobody's child, or a thread where that is asked for.

The process is started through a double fork, so that `os.wait`, `psutil.children()` and job control of the training
process never see it, and with `-I`, so that nothing of the working directory or of `PYTHON*` variables is loaded. It
works in `/`: the training's own directory may be deleted while the worker still delivers (a ClearML agent does so for
its next job), and no call that asks for the working directory would succeed from then on.
"""

from __future__ import annotations

import contextlib
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

from autoinstrument.mlflow_store.urls import absolute
from autoinstrument.transport.hidden_variables import HIDDEN
from autoinstrument.transport.sockets import above_streams
from autoinstrument.worker import program

_PREFIX, _RUN = "autoinstrument-", "run-"
_PATHS = ("_FILE", "_PATH", "_DIR", "_HOME", "_BUNDLE", "_CREDENTIALS", "_URI")
"""How variables are called that hold a path: `CLEARML_CONFIG_FILE`, `REQUESTS_CA_BUNDLE`, and many more."""


class WorkerHandle:
    """A started worker: where it listens, and the folder that it shares with the training process."""

    def __init__(
        self,
        folder: Path,
        *,
        process: subprocess.Popen[bytes] | None = None,
        connection: socket.socket | None = None,
        joined: bool = False,
    ) -> None:
        self.folder = folder
        self.joined = joined
        """Another process has started it."""
        self._process = process
        self._connection = connection
        self._thread_of = os.getpid() if connection is not None else None

    @property
    def is_thread(self) -> bool:
        """True if the worker ends with this process."""
        return self._thread_of is not None

    def serves_this_process(self) -> bool:
        """False in a forked child of a process whose worker is a thread, which the child does not have."""
        return self._thread_of in (None, os.getpid())

    def publish(self, run_id: str) -> None:
        """Let other processes of this user on this machine find the run's worker.

        Raises:
            OSError: the folder is gone.
        """
        if self._thread_of is None:
            (self.folder / f"{_RUN}{run_id}").touch()

    def settle(self) -> None:
        """Wait the 10 ms until the started process has made itself nobody's child; not for the training thread.

        Raises:
            OSError: it did not start.
        """
        process, self._process = self._process, None
        if process is not None and process.wait(30) != 0:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise OSError(f"the worker did not start (exit code {process.returncode} of {sys.executable})")

    def connect(self) -> socket.socket:
        """Return a new connection to the worker.

        Raises:
            OSError: it does not listen any more.
        """
        if self._connection is not None:
            connection, self._connection = self._connection, None
            return connection
        connection = above_streams(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        try:
            connection.settimeout(10)
            connection.connect(str(self.folder / "socket"))
        except OSError:
            connection.close()
            raise
        return connection


def start(kind: str) -> WorkerHandle:
    """Start a worker of the kind that `AUTOINSTRUMENT_WORKER` names, "process" or "thread".

    Where there are no Unix sockets or no fork it is a thread. A process is ready to be connected to at once: the
    socket listens before the process exists.

    Raises:
        OSError: no folder, no socket or no process could be made.
    """
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=next(iter(_runtime_folders()), None)))
    try:
        if kind == "process" and hasattr(socket, "AF_UNIX") and hasattr(os, "fork"):
            return WorkerHandle(folder, process=_start_process(folder))
        return WorkerHandle(folder, connection=_start_thread(folder))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def find(run_id: str) -> WorkerHandle | None:
    """Return the worker that another process of this user on this machine has published for a run, None for none."""
    if not re.fullmatch(r"[\w.-]+", run_id) or not hasattr(os, "getuid"):
        return None
    for runtime in _runtime_folders():
        for mark in Path(runtime).glob(f"{_PREFIX}*/{_RUN}{run_id}"):
            if mark.parent.stat().st_uid == os.getuid():
                return WorkerHandle(mark.parent, joined=True)
    return None


def _runtime_folders() -> list[str]:
    """Return where a worker's folder may be, the best first; a socket's path has 108 bytes at most.

    `tempfile.gettempdir` would choose for the training too, which may set TMPDIR later, and takes two milliseconds.
    """
    folders = [*(os.environ.get(name, "") for name in ("XDG_RUNTIME_DIR", "TMPDIR", "TEMP", "TMP")), "/tmp"]  # noqa: S108
    absolute = [folder for folder in folders if os.path.isabs(folder)]  # noqa: PTH117
    return [folder for folder in absolute if len(folder) < 60 and os.access(folder, os.W_OK)]


def _start_process(folder: Path) -> subprocess.Popen[bytes]:
    listener = above_streams(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    with listener:
        listener.bind(str(folder / "socket"))
        listener.listen(64)
        arguments = [str(listener.fileno()), str(folder), json.dumps(_import_path())]
        # A signal to all processes of a job must not end the worker before it ignores signals, some milliseconds after
        # its start: it inherits this thread's mask, and lifts it then. The mask is read first, because a handler of the
        # script's may raise from within the call that sets it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            return subprocess.Popen(
                [sys.executable, "-I", "-S", *_program(), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                pass_fds=[listener.fileno()],
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _program() -> list[str]:
    """Return the worker's program: its file, whose name `ps` shows, or its text where it is inside a zip archive."""
    if os.path.isfile(program.__file__):  # noqa: PTH113
        return [program.__file__]
    return ["-c", inspect.getsource(program)]


def _import_path() -> list[str]:
    """Return the folders that the worker may import from: all but the script's own and the working directory.

    `sys.path[0]` is the script's folder (unless `-P`/`-I`): a `logging.py` that stands there is not for us.
    """
    script = _absolute(sys.argv[0]) if sys.argv and sys.argv[0] not in ("", "-c", "-m") else ""
    refused = {str(Path(script).resolve().parent) if script else "", _absolute(""), ""}
    return [path for path in map(_absolute, sys.path) if path not in refused]


def _environment() -> dict[str, str]:
    """Return the worker's variables: none of `HIDDEN`, and no path that depends on the working directory."""
    kept = {name: value for name, value in os.environ.items() if name not in HIDDEN}
    for name, value in kept.items():
        if name.endswith("_URI") and value.startswith(("sqlite", "file:")):
            with contextlib.suppress(FileNotFoundError):
                kept[name] = absolute(value)
        elif name.endswith(_PATHS) and ((value and name == "AUTOINSTRUMENT_HOME") or os.path.exists(value)):  # noqa: PTH110
            kept[name] = value if value.startswith("~") else _absolute(value.strip()) or value
    return kept


def _absolute(path: str) -> str:
    """Return the absolute path; "" for a relative one whose working directory was deleted."""
    try:
        return os.path.abspath(path)  # noqa: PTH100  (`Path.absolute` keeps `..`)
    except FileNotFoundError:
        return ""


def _start_thread(folder: Path) -> socket.socket:
    from autoinstrument.worker.service import serve

    ours, theirs = map(above_streams, socket.socketpair())
    threading.Thread(target=serve, args=(theirs, folder), name="autoinstrument-worker", daemon=True).start()
    return ours
