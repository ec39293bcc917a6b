"""Items that were named once stay, on the Task and in the journal; what was sent is not sent again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from autoinstrument.clearml_api.errors import UnavailableError
from autoinstrument.clearml_api.tasks import Task
from autoinstrument.mirror.kinds.growing import GrowingPart
from autoinstrument.mirror.rejections import Rejections
from autoinstrument.records import Record, TagsSet

TASK = Task("t", "", False, {}, {}, "in_progress", "")


class Words(GrowingPart[str]):
    name = "words"

    def __init__(self, kept: list[str]) -> None:
        self.saved, self.written, self.problem = 0, list[tuple[str, list[str]]](), ""
        journal = SimpleNamespace(save=self.save)
        super().__init__(SimpleNamespace(journal=journal, rejections=Rejections("r")), kept)  # type: ignore[arg-type]

    def save(self) -> None:
        self.saved += 1

    def items_of(self, record: Record) -> list[str]:
        return list(record.tags) if isinstance(record, TagsSet) else []

    def key(self, item: str) -> str:
        return item.lower()

    def write(self, task: Task, items: list[str]) -> None:
        if self.problem:
            raise UnavailableError(self.problem)
        self.written.append((task.id, items))


def named(*words: str) -> Any:
    return TagsSet("r", dict.fromkeys(words, ""))


def test_items_are_added_and_written_together() -> None:
    kept = ["first"]
    part = Words(kept)
    assert part.has_work, "the journal of a process that is gone"
    part.send(TASK)
    part.take(named("second", "FIRST"))
    part.take(named("second"))
    assert part.has_work
    part.send(TASK)
    part.send(TASK)
    assert not part.has_work
    assert part.written == [("t", ["first"]), ("t", ["FIRST", "second"])]
    assert (kept, part.saved) == (["FIRST", "second"], 1)
    part.send(TASK._replace(id="other"))
    assert part.written[-1] == ("other", ["FIRST", "second"])


def test_nothing_is_written_for_a_run_that_has_none() -> None:
    part = Words([])
    part.take(named())
    part.send(TASK)
    assert not part.has_work
    assert (part.written, part.saved) == ([], 0)


def test_items_that_were_not_taken_wait() -> None:
    part = Words([])
    part.take(named("a"))
    part.problem = "away"
    with pytest.raises(UnavailableError):
        part.send(TASK)
    assert part.has_work
    part.problem = ""
    part.send(TASK)
    assert part.written == [("t", ["a"])]
