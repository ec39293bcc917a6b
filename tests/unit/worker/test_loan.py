"""Changes of a run while another thread delivers it."""

from __future__ import annotations

from functools import partial

import pytest

from autoinstrument.worker.loan import Loan


def test_changes_wait_while_the_run_is_away() -> None:
    loan, made = Loan(), list[int]()
    loan.do(partial(made.append, 1), 10)
    assert (made, loan.is_out, loan.any_waits) == ([1], False, False)
    loan.begin(100)
    for number in (2, 3):
        loan.do(partial(made.append, number), 10)
    assert (made, loan.is_out, loan.any_waits, loan.weight) == ([1], True, True, 120)
    assert loan.end() == (False, True)
    assert (made, loan.is_out, loan.any_waits) == ([1, 2, 3], False, False)


def test_a_change_that_another_one_makes_comes_at_once() -> None:
    """The run is at home by then."""
    loan, made = Loan(), list[int]()
    loan.begin(0)
    loan.do(lambda: loan.do(partial(made.append, 1), 0), 0)
    loan.end()
    assert made == [1]


def test_only_a_run_that_is_away_is_wanted() -> None:
    loan = Loan()
    loan.want()
    loan.begin(0)
    assert loan.end() == (False, False)
    loan.begin(0)
    loan.want()
    assert loan.end() == (True, False)
    loan.begin(0)
    assert loan.end() == (False, False), "once"


@pytest.mark.swallows("^taking a run's records: ValueError: invalid literal")
def test_a_change_that_fails_keeps_no_other_one_back() -> None:
    loan, made = Loan(), list[int]()
    loan.begin(0)
    loan.do(partial(int, "no number"), 0)
    loan.do(partial(made.append, 1), 0)
    loan.end()
    assert made == [1]
