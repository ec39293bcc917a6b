"""What follows from the reports of a process's end, for the runs that it has left open."""

from __future__ import annotations

import pytest

from autoinstrument.records import EndAnnounced, ProcessExiting, RunEnded
from autoinstrument.worker import cause_of_death
from autoinstrument.worker.exit_reports import ExitReports

RUN, OTHER = "0" * 32, "1" * 32


def test_one_kill_for_lack_of_memory_explains_one_death(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that share a worker share its control group, in which the kernel counts the kills."""
    kills = [5]
    monkeypatch.setattr(cause_of_death, "memory_kills", lambda: kills[0])
    monkeypatch.setattr(cause_of_death, "_explained", 2)
    first, second, third = (ExitReports() for _ in range(3))
    assert "memory" not in third.guessed_end().reason
    kills[0] += 1
    assert "out of memory" in first.guessed_end().reason
    assert "out of memory" in first.guessed_end().reason, "of its next run"
    assert "memory" not in second.guessed_end().reason
    assert "memory" not in ExitReports().guessed_end().reason


def test_the_first_report_that_says_how_a_run_ended_counts() -> None:
    """The announced end of that run, the abort, the exception, then the exit code."""
    reports = ExitReports()
    reports.note_exiting(ProcessExiting("", False, 1))
    reports.note_code(0)
    assert reports.reported_end(RUN) is None
    reports.note_code(3)
    found = [reports.reported_end(RUN)]
    reports.note_exiting(ProcessExiting("ValueError: bad", False, 1))
    found.append(reports.reported_end(RUN))
    reports.note_abort("aborted in ClearML")
    found.append(reports.reported_end(RUN))
    reports.announce(EndAnnounced(RUN, "FINISHED", 5, ""))
    found.append(reports.reported_end(RUN))
    assert [end and end.status for end in found] == ["failed", "failed", "stopped", "completed"]
    assert [end and "ValueError" in end.message for end in found] == [False, True, False, False]
    assert (reports.announced_ms(RUN), reports.announced_ms(OTHER)) == (5, 0)
    assert reports.reported_end(OTHER) == found[2], "the announcement is of one run"


def test_an_announced_end_counts_until_the_run_is_resumed_or_its_end_reported() -> None:
    reports = ExitReports()
    for clear in (
        lambda: reports.note_announced(RUN),
        lambda: reports.note_end(RunEnded(RUN, "FINISHED", 5, "", False)),
    ):
        reports.announce(EndAnnounced(RUN, "FINISHED", 5, ""))
        assert reports.announced_ms(RUN) == 5
        clear()
        assert reports.announced_ms(RUN) == 0
    reports.announce(EndAnnounced(RUN, "FINISHED", 6, ""))
    reports.note_end(RunEnded(RUN, "FINISHED", 5, "", False))
    assert reports.announced_ms(RUN) == 6, "it was resumed, and has ended again"


def test_a_code_counts_only_if_the_program_has_exited() -> None:
    """The exit code of a process that was killed is not the program's."""
    reports = ExitReports()
    reports.note_code(1)
    assert (reports.code, reports.reported_end(RUN)) == (None, None)
    assert not reports.leaves_end_to_others(RUN)
    reports.note_exiting(ProcessExiting("", False, 1))
    assert reports.leaves_end_to_others(RUN)
    reports.note_abort("aborted")
    assert not reports.leaves_end_to_others(RUN)
