"""A run on whose data a follower's code fails is reported and left for a while; `test_followed_runs` has the rest."""

from __future__ import annotations

from typing import Any

import pytest

from autoinstrument.clearml_api.errors import UnavailableError
from autoinstrument.guard import errors
from autoinstrument.sync.own_failures import OwnFailures
from autoinstrument.sync.selection import Outcome


class Run:
    """The calls that a `FollowedRun` got."""

    distrusted_at = 0.0

    def distrust(self, now: float) -> None:
        self.distrusted_at = now

    def failed(self, error: Exception) -> Outcome:
        return Outcome("1", "odd", "failed", str(error), "autoinstrument")


@pytest.mark.swallows("following a run: KeyError")
def test_a_call_that_fails() -> None:
    run: Any = Run()
    own = OwnFailures(lambda: 7.0)
    before = errors["following a run"]
    assert own.attempt(run, lambda: "result") == "result"
    assert own.attempt(run, lambda: {}["odd"]) is None
    (outcome,) = own.take()
    assert outcome.detail.startswith("following the run failed with KeyError in test_own_failures.py")
    assert (run.distrusted_at, errors["following a run"] - before) == (7.0, 1)
    assert list(own.take()) == []


def test_an_error_of_the_server_is_not_one_of_the_run() -> None:
    def call() -> None:
        raise UnavailableError("no answer")

    run: Any = Run()
    with pytest.raises(UnavailableError):
        OwnFailures(lambda: 7.0).attempt(run, call)
    assert run.distrusted_at == 0.0
