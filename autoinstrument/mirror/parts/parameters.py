"""A run's parameters, tags, name and note on their way to the Task."""

from __future__ import annotations

import functools
from typing import Any

from autoinstrument.clearml_api import storable
from autoinstrument.clearml_api.tasks import Task, Tasks
from autoinstrument.mirror import mapping
from autoinstrument.mirror.rejections import Rejections
from autoinstrument.records import Param, ParamsLogged, Record, RunStarted, TagDeleted, TagsSet
from autoinstrument.transport.budget import weight

_ROOM = 8 * 2**20
"""Characters of all parameters and tags: a Task is one document of 16 MB, and a full one takes no status either."""


class ParametersPart:
    """The `Part` of what a Task has one value of each.

    Attributes:
        weight: about how many bytes wait.
    """

    def __init__(self, tasks: Tasks, rejections: Rejections) -> None:
        self.weight = 0
        self._tasks = tasks
        self._rejections = rejections
        self._room = _ROOM
        self._sizes: dict[tuple[str, str], int] = {}
        """What is taken of the room, by section and name."""
        self._params: dict[str, Param] = {}
        self._types: dict[str, str] = {}
        self._tags: dict[str, str] = {}
        self._deleted_tags: set[str] = set()
        self._edits: dict[str, Any] = {}

    def take(self, record: Record) -> None:
        """Remember parameters and tags; the note is the tag that MLflow keeps it in."""
        if isinstance(record, ParamsLogged):
            self.weight += weight(record)
            for key, value, kind in record.params:
                if not self._fits(mapping.SECTION, key, value):
                    continue
                self._types[key] = kind or self._types.get(key, "")  # read from MLflow, it has no type
                self._params[key] = (key, value, self._types[key])
        elif isinstance(record, TagsSet):
            self.weight += weight(record)
            fitting = {key: value for key, value in record.tags.items() if self._fits(mapping.TAGS_SECTION, key, value)}
            self._tags.update(fitting)
            self._deleted_tags -= fitting.keys()
            if mapping.NOTE in record.tags:
                self._edits["comment"] = mapping.comment(record.tags)
        elif isinstance(record, TagDeleted):
            self._tags.pop(record.key, None)
            self._room += self._sizes.pop((mapping.TAGS_SECTION, record.key), 0)
            self._deleted_tags.add(record.key)
            if record.key == mapping.NOTE:
                self._edits["comment"] = ""

    def _fits(self, section: str, key: str, value: str) -> bool:
        """Take room for a value; where there is none, note that it is left out."""
        size, before = len(key) + len(value), self._sizes.get((section, key), 0)
        if size - before > self._room:
            self._rejections.leave_out(
                mapping.item_name({"section": section, "name": key}), "a Task has no room for it"
            )
            return False
        self._room -= size - before
        self._sizes[section, key] = size
        return True

    def name(self, name: str) -> None:
        """Name the Task; nothing for "": it has its name."""
        self._edits.pop("name", None)
        if name:
            self._edits["name"] = name

    @property
    def params(self) -> list[Param]:
        """The parameters that wait; a Task can be made with them."""
        return list(self._params.values())

    def made_with(self, run: RunStarted) -> None:
        """Note that a Task was made with the parameters that waited, and with the run's tags and note."""
        self._params.clear()
        self._tags = {key: value for key, value in self._tags.items() if run.tags.get(key) != value}
        if self._edits.get("comment") == mapping.comment(run.tags):
            del self._edits["comment"]

    def all_of(self, run: RunStarted) -> None:
        """Note that a Task was made without what the run began with."""
        self._tags = {**run.tags, **self._tags}
        if run.tags.get(mapping.NOTE):
            self._edits.setdefault("comment", mapping.comment(run.tags))

    @property
    def has_work(self) -> bool:
        """True while something waits to be delivered."""
        return bool(self._params or self._tags or self._deleted_tags or self._edits)

    def send(self, task: Task) -> None:
        """Bring the Task up to what is known.

        Raises:
            ClearMLError: the server did not take everything; what it did not take is kept.
        """
        items = [*mapping.parameters(self._params.values()), *mapping.tags(self._tags)]
        self._rejections.send_each(functools.partial(self._tasks.set_hyperparameters, task), items, mapping.item_name)
        self._params.clear()
        self._tags.clear()
        self.weight = 0
        delete = functools.partial(self._tasks.delete_hyperparameters, task, mapping.TAGS_SECTION)
        self._rejections.send_each(delete, sorted(map(storable.name, self._deleted_tags)), str)
        self._deleted_tags.clear()
        theirs = [*(["name"] if task.has_own_name else []), *(["comment"] if task.adopted and task.comment else [])]
        edits = [(field, value) for field, value in self._edits.items() if field not in theirs]
        self._rejections.send_each(lambda some: self._tasks.edit(task, **dict(some)), edits, lambda edit: edit[0])
        self._edits.clear()
