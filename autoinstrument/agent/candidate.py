"""A run that is not known to be mirrored: what is done for it waits for the decision."""

from __future__ import annotations

import threading
from collections.abc import Callable

_MOST = 1000
"""Pieces of work that wait for one run; data beyond them is read from MLflow's store."""


class Candidate:
    """A run that is not decided, or left out.

    Attributes:
        workspace: its workspace in MLflow, "" where none was named.
        is_open: the run has not ended.
        is_left_out: it gets no Task.
        lacks_some: more was done for it than may wait.
    """

    def __init__(self, workspace: str = "") -> None:
        self.workspace = workspace
        self.is_open = True
        self.is_left_out = self.lacks_some = False
        self._waiting: list[Callable[[], object]] | None = []
        """None once the run is chosen."""
        self._deciding = threading.RLock()

    def end(self) -> None:
        """Note that the run has ended."""
        self.is_open = False

    def do(self, work: Callable[[], object]) -> None:
        """Do something for the run: now if it is chosen, later if it is not decided, never if it is left out."""
        if self.is_left_out:
            return
        with self._deciding:
            if self._waiting is not None:
                if len(self._waiting) < _MOST:
                    self._waiting.append(work)
                else:
                    self.lacks_some = True
                return
        work()

    def leave_out(self) -> None:
        """Note that the run gets no Task, and drop what waits."""
        with self._deciding:
            self.is_left_out, self._waiting = True, []

    def choose(self, begin: Callable[[], object]) -> None:
        """Begin with the run, and do what waits for it."""
        with self._deciding:
            begin()
            for work in self._waiting or ():
                work()
            self._waiting = None
