"""Which thread a run belongs to: the worker's loop, or one that delivers it; the loop's changes wait meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from autoinstrument.guard import guard


class Loan:
    """A run's being away; all methods are for the thread of the worker's loop.

    Attributes:
        weight: bytes of the data that waits to be taken when the run comes home, with those that it had when it left.
    """

    def __init__(self) -> None:
        self.weight = 0
        self._is_out = self._is_wanted = False
        self._left: deque[Callable[[], object]] = deque()

    @property
    def is_out(self) -> bool:
        """True while another thread delivers the run."""
        return self._is_out

    @property
    def any_waits(self) -> bool:
        """True while a change waits."""
        return bool(self._left)

    def begin(self, weight: int) -> None:
        """Note that another thread delivers the run from now on, and how many bytes of it wait."""
        self.weight = weight
        self._is_out, self._is_wanted = True, False

    def want(self) -> None:
        """Note that the run must be delivered again as soon as it comes home."""
        self._is_wanted = self._is_out

    def end(self) -> tuple[bool, bool]:
        """Make the changes that have waited: the thread that has delivered the run has left it.

        Returns:
            Whether the run is wanted, and whether there were changes.
        """
        any_waited = bool(self._left)
        self._is_out = False
        while self._left:
            with guard("taking a run's records"):
                self._left.popleft()()
        return self._is_wanted, any_waited

    def do(self, change: Callable[[], object], weight: int) -> None:
        """Make a change, now or when the run comes home."""
        if self._is_out:
            self._left.append(change)
            self.weight += weight
        else:
            change()
