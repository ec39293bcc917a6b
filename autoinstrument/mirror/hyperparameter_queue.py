"""Parameters, tags and properties on their way to the Task: one value a name, sent together, within the Task's room."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from autoinstrument.clearml_api import storable
from autoinstrument.clearml_api.tasks import Hyperparameter, Task, Tasks
from autoinstrument.mirror.mapping import hyperparameters
from autoinstrument.mirror.mapping.hyperparameters import item_name
from autoinstrument.mirror.rejections import Rejections

_ROOM = 8 * 2**20
"""Characters of all parameters and tags: a Task is one document of 16 MB, and a full one takes no status either."""


class HyperparameterQueue:
    """Values that wait for the server, the last one of each section and name."""

    def __init__(self, tasks: Tasks, rejections: Rejections) -> None:
        self._tasks = tasks
        self._rejections = rejections
        self._room = _ROOM
        self._sizes: dict[tuple[str, str], int] = {}
        """Room that is taken, by section and name."""
        self._waiting: dict[tuple[str, str], Hyperparameter] = {}
        self._deleted: dict[str, set[str]] = {}

    def has_room(self, section: str, key: str, value: str) -> bool:
        """Take room for a value; if there is none, note that it is left out."""
        size, before = len(key) + len(value), self._sizes.get((section, key), 0)
        if size - before > self._room:
            self._rejections.leave_out(item_name({"section": section, "name": key}), "a Task has no room for it")
            return False
        self._room -= size - before
        self._sizes[section, key] = size
        return True

    def put(self, items: Iterable[Hyperparameter]) -> None:
        """Queue values to set."""
        for item in items:
            self._waiting[item["section"], item["name"]] = item
            self._deleted.get(item["section"], set()).discard(item["name"])

    def delete(self, section: str, key: str) -> None:
        """Queue a value to delete, and give back its room."""
        name = storable.name(key)
        self._waiting.pop((section, name), None)
        self._room += self._sizes.pop((section, key), 0)
        self._deleted.setdefault(section, set()).add(name)

    def names(self, section: str) -> set[str]:
        """Return the names in a section that wait to be set or deleted."""
        return {name for of, name in self._waiting if of == section} | self._deleted.get(section, set())

    @property
    def has_work(self) -> bool:
        """True while something waits to be delivered."""
        return bool(self._waiting or any(self._deleted.values()))

    def initial(self) -> dict[str, Any]:
        """Return the waiting values as a field of `tasks.create`."""
        return {"hyperparams": hyperparameters.sections(self._waiting.values())}

    def created(self, body: Mapping[str, Any]) -> None:
        """Drop the values that a new Task was made with."""
        held: Mapping[str, Mapping[str, Any]] = body.get("hyperparams", {})
        self._waiting = {
            (section, name): item
            for (section, name), item in self._waiting.items()
            if held.get(section, {}).get(name) != item
        }

    def send(self, task: Task) -> None:
        """Bring the Task up to what is known.

        Raises:
            ClearMLError: the server did not take everything; what it did not take is kept.
        """
        set_some = functools.partial(self._tasks.set_hyperparameters, task)
        self._rejections.send_each(set_some, list(self._waiting.values()), item_name)
        self._waiting.clear()
        for section, names in self._deleted.items():
            delete = functools.partial(self._tasks.delete_hyperparameters, task, section)
            self._rejections.send_each(delete, sorted(names), str)
        self._deleted.clear()
