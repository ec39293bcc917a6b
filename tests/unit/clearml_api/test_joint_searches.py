"""Threads that look for the Tasks of single runs at the same time share their requests."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from autoinstrument.clearml_api.errors import UnavailableError
from autoinstrument.clearml_api.joint_searches import JointSearches
from tests.unit.transport.worker import wait_for


class Slow:
    """A server that answers when it may."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.may_answer = threading.Event()
        self.fails = False

    def search(self, run_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        self.asked.append(list(run_ids))
        self.may_answer.wait()
        if self.fails:
            raise UnavailableError("it is down")
        return {run_id: [{"id": f"of {run_id}"}] for run_id in run_ids if run_id != "none"}


@pytest.mark.parametrize("fails", [False, True])
def test_runs_that_are_looked_for_during_a_search_are_looked_for_together(fails: bool) -> None:
    server = Slow()
    searches = JointSearches(server.search)
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(searches.of_run, "0")
        wait_for(lambda: server.asked == [["0"]])
        others = [threads.submit(searches.of_run, name) for name in ("1", "2", "none")]
        wait_for(lambda: len(searches._next.run_ids) == 3)
        server.fails = fails
        server.may_answer.set()
        if fails:
            for each in (first, *others):
                with pytest.raises(UnavailableError):
                    each.result()
        else:
            assert first.result() == [{"id": "of 0"}]
            assert [each.result() for each in others] == [[{"id": "of 1"}], [{"id": "of 2"}], []]
    assert [len(ids) for ids in server.asked] == [1, 3]


def test_a_later_search_asks_again() -> None:
    """The Task may have been made in the meantime."""
    server = Slow()
    server.may_answer.set()
    searches = JointSearches(server.search)
    searches.of_run("0")
    searches.of_run("0")
    assert server.asked == [["0"], ["0"]]
