"""The private folder of a worker: where its socket is, and what it and its training processes leave for each other.

A shared worker's folder has the worker's key in its name, so that all processes with this key find it. A worker that is
not shared has a folder of a random name. Whoever puts a socket there or takes it away holds the folder's lock.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from autoinstrument.transport import exit_status
from autoinstrument.transport.worker_key import worker_key

_PREFIX, _RUN = "autoinstrument-", "run-"
_SOCKET, _LOCK = "socket", "lock"
_SHARED = re.compile(rf"{_PREFIX}\d+-[0-9a-f]{{12}}")
_LONGEST = 56
"""Characters of the folder above a worker's: the path of a Unix socket has 104 (macOS) to 108 bytes."""


class WorkerFolder:
    """One worker's folder, for the worker and for its training processes.

    Attributes:
        path: the folder, which need not exist.
        socket: path of the worker's socket in it.
        is_shared: all processes with the worker's key use it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = str(path / _SOCKET)
        self.is_shared = _SHARED.fullmatch(path.name) is not None

    @classmethod
    def private(cls) -> WorkerFolder:
        """Make a folder for a worker that is not shared.

        Raises:
            OSError: it cannot be made.
        """
        return cls(Path(tempfile.mkdtemp(prefix=_PREFIX, dir=next(iter(runtime_folders()), None))))

    @classmethod
    def shared(cls) -> WorkerFolder | None:
        """Return the folder of the worker that this process uses; None where a folder cannot be found by its name."""
        folders = runtime_folders()
        if sys.platform == "win32" or not folders:
            return None
        return cls(Path(folders[0], f"{_PREFIX}{os.getuid()}-{worker_key()}"))

    @classmethod
    def of_run(cls, run_id: str) -> WorkerFolder | None:
        """Return the folder in which a process of this user has published a run, None for none."""
        if sys.platform == "win32" or not re.fullmatch(r"[\w.-]+", run_id):
            return None
        for runtime in runtime_folders():
            for mark in Path(runtime).glob(f"{_PREFIX}*/{_RUN}{run_id}"):
                if (found := cls(mark.parent)).is_trusted():
                    return found
        return None

    def make(self) -> None:
        """Make the folder if it does not exist.

        Raises:
            OSError: it cannot be made, or what is there may be another user's, or a link.
        """
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.path, 0o700)  # noqa: PTH102  (not the folders above it)
        if not self.is_trusted():
            raise PermissionError(f"{self.path} is not a private folder of this user")

    def is_trusted(self) -> bool:
        """Return True if only this user can have put something there."""
        if sys.platform == "win32":
            return True
        try:
            found = self.path.lstat()
        except OSError:
            return False
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077

    @contextlib.contextmanager
    def try_lock(self) -> Iterator[bool]:
        """Hold the folder's lock, and yield True; yield False, without waiting, if that cannot be done now.

        Another process holds the lock, or the folder was just removed.

        Raises:
            OSError: it can never be done.
        """
        if sys.platform == "win32":
            raise OSError("on Windows no worker is shared")
        import fcntl

        path = self.path / _LOCK
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            yield False
            return
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            try:
                yield _is_same(file, path)  # else the folder was removed before the lock was there
            finally:
                # A process that was forked meanwhile has the same lock open, and would keep it.
                fcntl.flock(file, fcntl.LOCK_UN)
        finally:
            os.close(file)

    def publish(self, run_id: str) -> None:
        """Let other processes of this user on this machine find the run's worker.

        Raises:
            OSError: the folder is gone.
        """
        (self.path / f"{_RUN}{run_id}").touch()

    def forget_run(self, run_id: str) -> None:
        """Let no process find the worker by this run any more."""
        with contextlib.suppress(OSError):
            (self.path / f"{_RUN}{run_id}").unlink(missing_ok=True)

    def identity(self) -> tuple[int, int, int] | None:
        """Return device, inode and time of the socket, None if there is none: another worker's has others."""
        try:
            found = os.lstat(self.socket)
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns

    def clear(self) -> None:
        """Remove the socket, and what runs and processes that are gone have left; the caller holds the lock."""
        for name in os.listdir(self.path):  # noqa: PTH208
            if name == _SOCKET or name.startswith(_RUN) or exit_status.is_left_over(name):
                with contextlib.suppress(OSError):
                    os.unlink(self.path / name)  # noqa: PTH108

    def discard(self) -> None:
        """Remove the folder as far as no process needs it; the caller holds the lock, and there is no worker."""
        self.clear()
        if os.listdir(self.path) == [_LOCK]:  # noqa: PTH208
            os.unlink(self.path / _LOCK)  # noqa: PTH108
            self.path.rmdir()

    def remove(self) -> None:
        """Remove the folder at the end of its worker, unless another worker uses it by now, or is about to."""
        if not self.is_shared:
            shutil.rmtree(self.path, ignore_errors=True)
            return
        with contextlib.suppress(OSError), self.try_lock() as is_locked:  # it was removed, or is not empty
            if is_locked and self.identity() is None:
                self.discard()


def _is_same(file: int, path: Path) -> bool:
    """Return True if an open file is the one at this path."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except OSError:
        return False


def runtime_folders() -> list[str]:
    """Return the folders, the best first, in which a worker's folder may be.

    `tempfile.gettempdir` would choose for the training too, which may set TMPDIR later, and takes two milliseconds.
    A container whose root file system is read-only often has no other writable folder than /dev/shm.
    """
    given = [os.environ.get(name, "") for name in ("XDG_RUNTIME_DIR", "TMPDIR", "TEMP", "TMP")]
    absolute = [folder for folder in (*given, "/tmp", "/dev/shm") if os.path.isabs(folder)]  # noqa: PTH117, S108
    return [folder for folder in absolute if len(folder) < _LONGEST and os.access(folder, os.W_OK)]
