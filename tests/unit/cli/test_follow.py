"""Outcomes of its two feeds that a follower prints and counts."""

from __future__ import annotations

import threading

import pytest

from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.cli import follow, outcomes
from autoinstrument.cli.follow import Follower
from autoinstrument.cli.health import LIVE, ROUNDS, Health
from autoinstrument.settings import Settings
from autoinstrument.sync.followed_runs import FollowedRuns
from autoinstrument.sync.selection import Outcome, Selection
from autoinstrument.sync.silent_runs import SilentRuns
from tests.clearml_server import ClearMLServer


@pytest.fixture
def follower(server: ClearMLServer) -> Follower:
    selection, settings = Selection(everything=True), Settings()
    live = FollowedRuns(selection, settings)
    silent = SilentRuns(Tasks(Session()), settings)
    return Follower(selection, settings, 1, None, silent, live, Health(), as_json=False)


def test_news_are_printed_once(follower: Follower, capsys: pytest.CaptureFixture[str]) -> None:
    rounds, live = follower._reporter(ROUNDS), follower._reporter(LIVE)
    away = Outcome("", "", "failed", "nobody answers", "mlflow")
    for report in (rounds, live, rounds, live):
        report(away)
    assert capsys.readouterr() == ("", "nobody answers\n"), "once, whichever feed has found it"
    live(Outcome("r", "run", "followed", "http://task"))
    live(Outcome("r", "run", "failed", "no"))
    live(Outcome("r", "run", "failed", "no"))
    rounds(Outcome("r", "run", "running", "left alone"))
    live(Outcome("r", "run", "synced", "http://task"))
    assert capsys.readouterr().out.splitlines() == [
        "run: followed http://task", "run: failed: no", "run: synced http://task",
    ]  # fmt: skip
    assert set(follower._failed) == {ROUNDS, LIVE}
    for feed in (ROUNDS, LIVE):
        follower._end(feed, has_failed=False)
    assert follower._failed == {}
    outcomes.sum_up(follower._counts, "nothing")
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [["followed", "1"], ["synced", "1"]]


def test_a_signal_ends_it_once_and_the_second_one_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends in any case after some seconds: a request that hangs must not keep it."""
    handlers, timers = {}, []
    monkeypatch.setattr(follow.signal, "signal", handlers.__setitem__)
    monkeypatch.setattr(follow.threading, "Timer", lambda *arguments: timers.append(arguments) or threading.Thread())
    with pytest.raises(KeyboardInterrupt):
        follow._interrupt(15, None)
    assert set(handlers) == {follow.signal.SIGINT, follow.signal.SIGTERM}
    assert set(handlers.values()) == {follow.signal.SIG_DFL}
    assert timers == [(follow._END_S, follow.os._exit, [1])]
    assert follow._END_S < 10
