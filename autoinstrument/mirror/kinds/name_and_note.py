"""A run's name and its note: the Task's name and its comment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autoinstrument.clearml_api import storable
from autoinstrument.clearml_api.tasks import Task
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.kind import Difference, Kind, RunPart, StoredData, TaskOfRun
from autoinstrument.mirror.mapping.names import task_name
from autoinstrument.mlflow_store import note_link
from autoinstrument.mlflow_store.describe import RUN_NAME
from autoinstrument.mlflow_store.link_tags import TASK_URL
from autoinstrument.mlflow_store.run_reader import RunReader
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import Record, TagDeleted, TagsSet
from autoinstrument.scrubber import hide_in_text

NOTE = note_link.NOTE


class NameAndNote(Kind):
    """MLflow keeps both in tags. The name and the comment of an adopted Task belong to its owner."""

    name = "name"
    task_fields = ("name", "comment", "hyperparams")
    is_in_search = True

    def part(self, context: RunContext) -> RunPart:
        """See `Kind.part`."""
        return _NameAndNotePart(context)

    def read(self, run: RunReader) -> Iterable[StoredData]:
        """Return the two tags that hold them."""
        tags = {key: value for key, value in run.stored.run.tags.items() if key in (RUN_NAME, NOTE)}
        return [TagsSet(run.run_id, tags)]

    def glance(self, of: TaskOfRun) -> Iterator[Difference]:
        """Compare both; without a note in MLflow a person may have written the comment."""
        run, task = of.stored.run, of.task
        if "{script}" not in of.settings.task and not of.is_adopted:  # else only the journal knew the script
            wanted = task_name(of.settings, run, None)
            if task.get("name") != wanted:
                yield Difference("name", f"{task.get('name')!r} instead of {wanted!r}")
        note = comment(run.tags).strip()  # ClearML strips what it keeps
        held = (task.get("comment") or "").strip()
        if note and held != note and not (held and of.is_adopted):
            yield Difference("note", "the comment is other than the run's note")
        written, url = run.tags.get(NOTE, ""), run.tags.get(TASK_URL, "")
        if of.settings.note and url and note_link.with_link(written, url) != written:
            yield Difference("note", "the run's description lacks the link to the Task")

    def facts(self, run: StoredRun, data: Iterable[StoredData]) -> Iterable[tuple[str, str]]:
        """Return the name; the note is compared as a tag."""
        return [("name", run.run.run_name)]


class _NameAndNotePart(RunPart):
    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._run_name = ""
        """The run's name that the Task was named by, if that is known."""
        self._edits: dict[str, str] = {}

    def take(self, record: Record) -> None:
        if isinstance(record, TagsSet):
            name = record.tags.get(RUN_NAME)
            if name is not None and name != self._run_name:
                self._context.change_run(run_name=name)
                self._rename()
            if NOTE in record.tags:
                self._edits["comment"] = comment(record.tags)
        elif isinstance(record, TagDeleted) and record.key == NOTE:
            self._edits["comment"] = ""

    @property
    def has_work(self) -> bool:
        return bool(self._edits)

    def initial(self) -> dict[str, Any]:
        note = comment(self._context.run.tags)
        return {"name": self._name(), **({"comment": note} if note else {})}

    def created(self, *, bare: bool) -> None:
        self._run_name = self._context.run.run_name
        self._edits.pop("name", None)
        note = comment(self._context.run.tags)
        if bare and note:
            self._edits.setdefault("comment", note)
        elif not bare and self._edits.get("comment") == note:
            del self._edits["comment"]

    def found(self, task: Task, *, is_given: bool) -> None:
        run = self._context.run
        is_queued_for_run = task.name == task.given_name  # the run may have been renamed since
        if is_given and run.owned and (not run.resumed or is_queued_for_run):  # a clone has its origin's name
            self._rename()

    def send(self, task: Task) -> None:
        has_own = {"name": task.has_own_name, "comment": task.adopted and bool(task.comment)}
        edits = [(field, value) for field, value in self._edits.items() if not has_own[field]]
        send_each, tasks = self._context.rejections.send_each, self._context.tasks
        send_each(lambda some: tasks.edit(task, **dict(some)), edits, lambda edit: edit[0])
        self._edits.clear()

    def _rename(self) -> None:
        self._run_name = self._context.run.run_name
        self._edits["name"] = self._name()

    def _name(self) -> str:
        return task_name(self._context.settings, self._context.run, self._context.journal.process)


def comment(tags: Mapping[str, str]) -> str:
    """Return the comment with the run's note, without the Task's own link; "" for none."""
    return storable.text(hide_in_text(note_link.without_link(tags.get(NOTE, ""))))
