"""Calls of a follower's records of runs. A run on whose data this package's code fails is left for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from autoinstrument.clearml_api.errors import ClearMLError, OwnError
from autoinstrument.guard import count
from autoinstrument.sync.followed_run import FollowedRun
from autoinstrument.sync.selection import Outcome

_Result = TypeVar("_Result")


class OwnFailures:
    """Makes calls that need no server, so that one run that fails does not stop the others (see also `mirror.parts`).

    Args:
        clock: returns seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._outcomes: list[Outcome] = []

    def attempt(self, run: FollowedRun, call: Callable[[], _Result]) -> _Result | None:
        """Make a call for a run, and return its result; None if it fails: the run is tried again, as a whole, later.

        Raises:
            ClearMLError: what the call raises of it.
        """
        try:
            return call()
        except ClearMLError:
            raise
        except Exception as error:
            count("following a run", error)
            run.distrust(self._clock())
            self._outcomes.append(run.failed(OwnError("following the run", error)))
        return None

    def take(self) -> Iterator[Outcome]:
        """Yield the outcomes of the runs that have failed since the last call."""
        outcomes, self._outcomes = self._outcomes, []
        yield from outcomes
