"""The description of a run that has begun: it asks the tracking store, and so is made on the sending thread."""

from __future__ import annotations

from collections.abc import Callable

from autoinstrument.guard import guard
from autoinstrument.records import RunStarted
from autoinstrument.transport.deferred_records import DeferredStart

_TRIES, _PAUSE_S = 8, 0.25
"""How often the tracking store is asked; the pause after the first failure, doubled each time."""


class RunStart(DeferredStart):
    """The record of a run that has begun; asked for again later where the tracking store does not answer.

    Args:
        make: asks the store; returns None for a run that is left alone.
        taken: called with the store's answer; returns the record to send.
        again: has a function called after so many seconds, or at the run's end if that is earlier.
    """

    def __init__(
        self,
        make: Callable[[], RunStarted | None],
        taken: Callable[[RunStarted | None], RunStarted | None],
        again: Callable[[Callable[[], RunStarted | None], float], None],
    ) -> None:
        super().__init__(self._describe)
        self._make_run, self._taken, self._again = make, taken, again
        self._failed = 0

    def _describe(self) -> RunStarted | None:
        try:
            run = self._make_run()
        except Exception:  # of MLflow's store, which raises what its driver raises
            self._failed += 1
            if self._failed < _TRIES:
                self._again(self._retry, _PAUSE_S * 2**self._failed)
            raise
        return self._taken(run)

    def _retry(self) -> RunStarted | None:
        with guard("describing a run"):  # logged at the first failure
            return self._describe()
        return None
