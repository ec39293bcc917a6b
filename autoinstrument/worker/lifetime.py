"""The worker's lifetime: it accepts training processes, and stays a while after the last one has gone.

So a loop of short scripts starts one worker. Before the worker ends, it removes its socket, under the lock of its
folder, and still serves each process that has found it: the next one finds no worker, and starts another one.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import threading
import time
from collections.abc import Callable

from autoinstrument.guard import guard
from autoinstrument.transport.worker_folder import WorkerFolder
from autoinstrument.transport.worker_key import identities, used_files
from autoinstrument.worker.termination import termination

_FIRST_S = 30.0
"""How long the worker waits for a first process."""


class Lifetime:
    """Accepts connections, and decides when the worker ends.

    Args:
        folder: the worker's.
        linger_s: seconds that a shared worker stays after its last process has gone.
        has_hope: returns True if ClearML takes what the worker sends; else the next process tries for itself, with
            another worker.
    """

    def __init__(self, folder: WorkerFolder, linger_s: float, has_hope: Callable[[], bool] = lambda: True) -> None:
        self._folder, self._has_hope = folder, has_hope
        self._linger_s = linger_s if folder.is_shared else 0.0
        self._listener: socket.socket | None = None
        self._take: Callable[[socket.socket], None] = socket.socket.close
        self._accepting = threading.Lock()
        """Held until an accepted connection is known to the worker."""
        self._idle_since = time.monotonic()
        self._was_busy = self._is_withdrawn = self._is_stopping = False
        self._socket: tuple[int, int, int] | None = None
        self._files: list[str] = []
        self._identities: list[str] = []

    def listen(self, listener: socket.socket, take: Callable[[socket.socket], None]) -> None:
        """Accept connections from now on, on a thread; `take` is called with each."""
        listener.setblocking(False)
        self._listener, self._take = listener, take
        self._socket, self._files = self._folder.identity(), used_files()
        self._identities = identities(self._files)
        threading.Thread(target=self._listen, args=(listener,), daemon=True).start()

    def is_over(self, is_busy: Callable[[], bool]) -> bool:
        """Return True if the worker must end now; called again and again.

        Args:
            is_busy: returns True if a process is connected, or something is left to do for one.
        """
        if is_busy():
            self._was_busy, self._idle_since = True, time.monotonic()
            return False
        if time.monotonic() - self._idle_since < self._stay_s() or not self._withdraw():
            return False
        self._accept()
        return not is_busy()

    def stop(self) -> None:
        """Let no process find the worker from now on, and do not stay after the last one has gone."""
        self._is_stopping = True
        self._withdraw()

    def _stay_s(self) -> float:
        if self._is_stopping:
            return 0.0
        if not self._was_busy:
            return _FIRST_S
        if termination.is_requested:
            return 0.0
        if not self._linger_s or self._is_withdrawn or self._folder.identity() != self._socket:
            return 0.0
        # No process may use it any more if a package or ClearML's configuration was changed.
        is_current = identities(self._files) == self._identities
        return self._linger_s if is_current and self._has_hope() else 0.0

    def _withdraw(self) -> bool:
        """Remove the socket, so that no process finds the worker; return False if that must be tried again."""
        if self._listener is None or self._is_withdrawn:
            return True
        with contextlib.suppress(OSError), self._folder.try_lock() as is_locked:
            if not is_locked and self._folder.identity() is not None:
                return False
            if self._folder.identity() == self._socket:
                self._folder.clear()
        self._is_withdrawn = True
        return True

    def _listen(self, listener: socket.socket) -> None:
        if sys.platform == "win32":
            return
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        while True:
            poll.poll()
            self._accept()

    def _accept(self) -> None:
        """Accept all connections that wait."""
        with self._accepting:
            while self._listener is not None:
                try:
                    connection, _ = self._listener.accept()
                except BlockingIOError:
                    return
                except OSError:  # there are no descriptors left
                    time.sleep(0.1)
                    return
                with guard("accepting a process"):
                    self._take(connection)
