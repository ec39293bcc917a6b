"""Resources that all processes of the tests share: each is made once, by the process that needs it first.

Environments and servers take seconds of CPU time each, pytest-xdist runs the tests in several processes, and
`python3 -m tests` runs pytest once for each tier.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

FOLDER = "TESTS_SHARED_FOLDER"
"""A variable: the folder in which the environments that run tests have their resources, each in one of its own."""
_PIPE, _LOOK_S = ".pipe", 0.5


@contextlib.contextmanager
def resources() -> Iterator[None]:
    """Keep what the processes share that are started in this context: services that no process uses go on, too.

    A context inside another one, in this process or in one above it, has the same resources.
    """
    if FOLDER in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="tests-", ignore_cleanup_errors=True) as folder:
        os.environ[FOLDER] = folder
        over = threading.Event()
        holding = threading.Thread(target=_hold, args=(Path(folder), over), daemon=True)
        holding.start()
        try:
            yield
        finally:
            over.set()
            holding.join()
            del os.environ[FOLDER]


def _hold(folder: Path, over: threading.Event) -> None:
    """Hold the standard inputs of services open, as soon as these have begun."""
    held = dict[Path, int]()
    while not over.wait(_LOOK_S):
        for pipe in set(folder.glob(f"*/*{_PIPE}")) - held.keys():
            with contextlib.suppress(OSError):  # it is just beginning
                held[pipe] = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    for descriptor in held.values():
        os.close(descriptor)


class Shared:
    """What processes of this environment share, in a folder that all of them know."""

    def __init__(self) -> None:
        self._folder = Path(os.environ[FOLDER]) / re.sub(r"\W+", "-", sys.prefix)
        self._folder.mkdir(parents=True, exist_ok=True)

    def folder(self, name: str, make: Callable[[Path], object]) -> Path:
        """Return a folder with what `make` puts into it; the first process that asks for it calls `make`."""
        folder, done = self._folder / name, self._folder / f"{name}.done"
        with self._lock(name):
            if not done.exists():
                folder.mkdir()  # fails for the others, too, where the first one has failed
                make(folder)
                done.touch()
        return folder

    @contextlib.contextmanager
    def service(self, name: str, start: Callable[[int], str]) -> Iterator[str]:
        """Yield the address of a service, which runs as long as some process is in this context.

        Args:
            name: the service.
            start: starts it and returns its address. It is given a descriptor for the service's standard input, which
                is closed when no process uses the service any more; the service must end then.
        """
        pipe, address = self._folder / f"{name}{_PIPE}", self._folder / f"{name}.address"
        with self._lock(name):
            try:
                held = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # it does not exist, or the service has ended
                if not pipe.exists():
                    os.mkfifo(pipe)
                reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
                held = os.open(pipe, os.O_WRONLY)
                os.set_blocking(reader, True)
                try:
                    address.write_text(start(reader))
                except BaseException:
                    os.close(held)
                    raise
                finally:
                    os.close(reader)
        try:
            yield address.read_text()
        finally:
            os.close(held)

    @contextlib.contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        with (self._folder / f"{name}.lock").open("w") as file:
            if sys.platform != "win32":
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
