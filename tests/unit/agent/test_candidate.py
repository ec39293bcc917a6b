"""Work for a run waits until it is known whether the run is mirrored."""

from __future__ import annotations

import threading

from autoinstrument.agent.candidate import _MOST, Candidate


def test_work_waits_and_keeps_its_order() -> None:
    done: list[object] = []
    candidate = Candidate()
    candidate.do(lambda: done.append(1))
    candidate.do(lambda: done.append(2))
    assert done == []
    candidate.choose(lambda: done.append("begun"))
    candidate.do(lambda: done.append(3))
    assert done == ["begun", 1, 2, 3]


def test_nothing_is_done_for_a_run_that_is_left_out() -> None:
    done: list[int] = []
    candidate = Candidate()
    candidate.do(lambda: done.append(1))
    candidate.leave_out()
    candidate.do(lambda: done.append(2))
    assert (candidate.is_left_out, candidate.is_open, done) == (True, True, [])


def test_waiting_work_is_bounded() -> None:
    done: list[int] = []
    candidate = Candidate()
    for number in range(_MOST + 5):
        candidate.do(lambda number=number: done.append(number))  # type: ignore[misc]
    candidate.choose(lambda: None)
    assert done == list(range(_MOST))
    assert candidate.lacks_some


def test_a_call_during_the_choice_comes_after_the_waiting_work() -> None:
    done: list[int] = []
    candidate = Candidate()
    candidate.do(lambda: done.append(1))
    late = threading.Thread(target=lambda: candidate.do(lambda: done.append(2)))
    candidate.choose(late.start)
    late.join()
    assert done == [1, 2]
