"""Marks of the processes that have begun a run, by which processes below and beside them find the run's worker.

A mark is a symbolic link in a private folder. Its name is the identity of the process (`process_table`), its target the
worker's folder and what the process's descriptors 1 and 2 lead to. Nothing is put into the environment, which the
script's other processes would inherit.

Ranks of a distributed training are children of the launcher, and not of rank 0, which has the run. So a rank leaves
a second mark, by the identity of its parent.
"""

# os.path: pathlib takes 5 ms to import.
# ruff: noqa: PTH102, PTH106, PTH108, PTH112, PTH115, PTH118, PTH211
from __future__ import annotations

import contextlib
import os
import stat
import sys

from autoinstrument.bootstrap.training_around import mark_folders, rank
from autoinstrument.child_console import process_table

TYPE_CHECKING = False  # type checkers take it for typing's; importing that takes 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_MOST = 4096

File = tuple[int, int]
"""Device and inode."""


class Mark:
    """A process that has begun a run.

    Attributes:
        pid: its id.
        worker: its worker's folder.
        files: what its descriptors 1 and 2 led to; None for a rank beside this process, whose launcher gives each rank
            streams of its own.
    """

    __slots__ = ("files", "pid", "worker")

    def __init__(self, pid: int, worker: str, files: set[File] | None) -> None:
        self.pid, self.worker, self.files = pid, worker, files


def file_of(descriptor: int) -> File | None:
    """Return what a descriptor leads to, None where it is closed."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def leave(worker: str, *, owned: bool) -> None:
    """Mark this process as one that has a run; a mark from before is replaced.

    Args:
        worker: the folder of the run's worker on this machine.
        owned: True if this process has begun the run. If a process on another machine has, ranks here use the mark of
            the first rank that logs to the run.

    Raises:
        OSError: there is no folder for marks.
    """
    files = "-".join("{}.{}".format(*(file_of(descriptor) or (0, 0))) for descriptor in (1, 2))
    target = f"{os.getpid()}:{files}:{worker}"
    _link(process_table.identity(os.getpid()), target)
    if rank(os.environ):
        name = _beside(process_table.identity(os.getppid()), os.environ)
        if owned or _read(mark_folders(os.environ), name) is None:
            _link(name, target)


def leave_relay() -> None:
    """Mark the file behind descriptor 1 as one that a relay reads (`descriptors`); raises as `leave`."""
    if (file := file_of(1)) is not None:
        _link(_relayed(file), f"{os.getpid()}:{rank(os.environ)}")


def relayed_by() -> int:
    """Return the id of the process whose relay reads what this one writes to descriptor 1, 0 for none."""
    return _relay()[0]


def is_relayed() -> bool:
    """Return True if this process needs no relay, because it has inherited its descriptors from one that has.

    A rank needs a relay of its own, which puts its name before its lines, unless that process is a rank too.
    """
    pid, of_rank = _relay()
    return pid > 0 and bool(of_rank or not rank(os.environ))


def _relay() -> tuple[int, str]:
    """Return process id and rank of the process with the relay that reads descriptor 1; 0 for none."""
    if (file := file_of(1)) is None:
        return 0, ""
    for folder in mark_folders(os.environ):
        try:
            pid, _, of_rank = os.readlink(os.path.join(folder, _relayed(file))).partition(":")
            os.kill(int(pid), 0)  # a pipe's number may be that of a killed process's pipe
            return int(pid), of_rank
        except (OSError, ValueError, OverflowError):  # there is none
            continue
    return 0, ""


def remove(pid: int) -> None:
    """Take a process's marks away, and the folder of marks if it is empty."""
    for folder in mark_folders(os.environ):
        try:
            names = os.listdir(folder)  # noqa: PTH208
        except OSError:
            continue
        for name in names:
            path = os.path.join(folder, name)
            try:
                if os.readlink(path).startswith(f"{pid}:"):
                    os.unlink(path)
            except OSError:  # another process has taken it away
                continue
        _remove_if_empty(folder)


def find(pids: Iterable[int] = (), environ: Mapping[str, str] = os.environ) -> Mark | None:
    """Return the mark of the nearest process above this one, else that of a rank beside it; None for none.

    Args:
        pids: ids of processes that have forked this one, the nearest first. They count before its ancestors.
        environ: this process's variables.
    """
    folders = [folder for folder in mark_folders(environ) if _is_trusted(folder)]
    if not folders:
        return None
    above = [process_table.identity(pid) for pid in pids] + process_table.ancestors(os.getppid())
    for name in above:
        if (mark := _read(folders, name)) is not None:
            return mark
    if rank(environ):
        for name in above:
            if (mark := _read(folders, _beside(name, environ))) is not None:
                mark.files = None
                return mark
    return None


def _relayed(file: File) -> str:
    return "relayed-{}.{}".format(*file)


def _beside(launcher: str, environ: Mapping[str, str]) -> str:
    """Return the name of a mark for the ranks that a launcher has started, and for no other job that it started."""
    return f"ranks-of-{launcher}-{environ.get('MASTER_PORT', '').strip()[:8].replace('/', '')}"


def _is_trusted(folder: str) -> bool:
    """Return True if only this user can have put something there."""
    if sys.platform == "win32":
        return False
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def _link(name: str, target: str) -> None:
    error: OSError = FileNotFoundError("no folder for marks")
    for folder in mark_folders(os.environ):
        for _ in range(3):  # another process may remove the empty folder at any moment
            try:
                if not os.path.isdir(folder):
                    os.mkdir(folder, 0o700)
                if not _is_trusted(folder):
                    break
                new = os.path.join(folder, f"new-{os.getpid()}")
                os.symlink(target, new)
                os.replace(new, os.path.join(folder, name))  # noqa: PTH105
                return
            except OSError as found:
                error = found
    raise error


def _read(folders: Iterable[str], name: str) -> Mark | None:
    for folder in folders:
        try:
            pid, files, worker = os.readlink(os.path.join(folder, name)).split(":", 2)
            found = {(int(device), int(inode)) for device, inode in (file.split(".") for file in files.split("-"))}
            if len(worker) < _MOST and _is_trusted(worker):
                return Mark(int(pid), worker, found)
        except (OSError, ValueError):  # there is none
            continue
    return None


def _remove_if_empty(folder: str) -> None:
    with contextlib.suppress(OSError):  # there are others, or there is no such folder
        os.rmdir(folder)
