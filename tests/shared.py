"""Resources that the processes of one pytest run share: each is made once, by the process that needs it first.

Environments and servers take seconds of CPU time each, and pytest-xdist runs the tests in several processes.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl


class Shared:
    """A folder that all processes of this pytest run know."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

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
        pipe, address = self._folder / f"{name}.pipe", self._folder / f"{name}.address"
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
