"""Console lines that wait are in order, and memory holds few of them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from autoinstrument.journal.run_journal import RunJournals
from autoinstrument.mirror.kinds import waiting_lines
from autoinstrument.mirror.kinds.waiting_lines import WaitingLines
from autoinstrument.records import RunStarted
from autoinstrument.settings import Settings
from autoinstrument.transport.budget import Limit
from tests.unit.mirror.runs import PROCESS

RUN = RunStarted("7" * 32, "a", "0", "exp", "sqlite:///nowhere.db", "", "", 0, "", {}, False, True, "")


def test_what_does_not_fit_into_memory_waits_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_lines, "RUN_CONSOLE", Limit(2, 1000))
    journal = RunJournals(Settings(home=str(tmp_path / "home"))).of(RUN, PROCESS)
    journal.save()
    waiting, sent = WaitingLines(journal, threading.RLock(), on_disk=False), list[str]()
    for number in range(5):
        line = ("stdout", str(number), number)
        waiting.add([line], kept=journal.add_console([line]))
    while waiting:
        waiting.fetch()
        assert len(waiting) <= 2
        sent += [text for _, text, _ in waiting.in_memory()]
        journal.note_console_sent(journal.console_sent + waiting.drop(len(waiting)))
    assert sent == ["0", "1", "2", "3", "4"]
