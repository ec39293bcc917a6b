"""Change what a Task holds: hyperparameters, configuration objects, artifacts, tags and other fields."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from autoinstrument.clearml_api.errors import understood
from autoinstrument.clearml_api.finished_tasks import change, replace
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.task import Hyperparameter, Task, artifact_identity

_Sections = dict[str, dict[str, Any]]

_GRACE, _EVERY, _IS_OVER = "_abort_callback_timeout", "_abort_poll_freq", "_abort_callback_completed"
"""Runtime properties by which an agent knows that it must wait, how long, and that it need not wait any more."""


@understood
class TaskEdits:
    """Changes Tasks of one server, finished or not. Every method raises `ClearMLError` if a change is not taken."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def edit(self, task: Task, **fields: Any) -> None:
        """Replace fields of the Task."""
        self._session.call("tasks.edit", task=task.id, force=True, **fields)

    def add_tags(self, task: Task, tags: list[str]) -> None:
        """Add tags, except those that the Task has."""
        self._session.call("tasks.update_tags", ids=[task.id], add_tags=tags)

    def remove_tags(self, task: Task, tags: list[str]) -> None:
        """Remove tags, as far as the Task has them."""
        if tags:
            self._session.call("tasks.update_tags", ids=[task.id], remove_tags=tags)

    def add_artifacts(self, task: Task, artifacts: list[dict[str, Any]]) -> None:
        """Add artifacts, or replace those of the same key."""

        def merge(execution: dict[str, Any]) -> dict[str, Any]:
            new = {artifact_identity(artifact) for artifact in artifacts}
            others = [other for other in execution.get("artifacts") or [] if artifact_identity(other) not in new]
            return {**execution, "artifacts": [*others, *artifacts]}

        if artifacts:
            self._change("tasks.add_or_update_artifacts", "execution", merge, task=task.id, artifacts=artifacts)

    def delete_artifacts(self, task: Task, keys: Collection[str]) -> None:
        """Take artifacts off the list, by their keys; uploaded files stay where they are."""

        def merge(execution: dict[str, Any]) -> dict[str, Any]:
            left = [other for other in execution.get("artifacts") or [] if artifact_identity(other) not in gone]
            return {**execution, "artifacts": left}

        if keys:
            items = [{"key": key, "mode": "output"} for key in keys]
            gone = {artifact_identity(item) for item in items}
            self._change("tasks.delete_artifacts", "execution", merge, task=task.id, artifacts=items)

    def set_configuration(self, task: Task, items: list[Hyperparameter]) -> None:
        """Add configuration objects or replace them; other objects stay."""

        def merge(configuration: dict[str, Any]) -> dict[str, Any]:
            return {**configuration, **{item["name"]: item for item in items}}

        if items:
            self._change("tasks.edit_configuration", "configuration", merge, task=task.id, configuration=items)

    def set_hyperparameters(self, task: Task, items: list[Hyperparameter]) -> None:
        """Add hyperparameters or change them; others stay."""

        def merge(sections: _Sections) -> _Sections:
            merged = {name: dict(held) for name, held in sections.items()}
            for item in items:
                merged.setdefault(item["section"], {})[item["name"]] = item
            return merged

        if items:
            self._change("tasks.edit_hyper_params", "hyperparams", merge, task=task.id, hyperparams=items)

    def add_runtime(self, task: Task, values: dict[str, Any]) -> None:
        """Add runtime properties or change them; others stay, and those of an adopted Task are not changed."""

        def merge(runtime: dict[str, Any]) -> dict[str, Any]:
            return {**values, **runtime} if task.adopted else {**runtime, **values}

        replace(self._session, task.id, "runtime", merge)

    def ask_for_grace(self, task_id: str, grace_s: float, every_s: float) -> bool:
        """Have the agent that runs a Task wait with ending its program, until `end_grace`.

        The runtime properties are those of the SDK's `Task.register_abort_callback` (clearml 1.16 to 2.1.12). An agent
        waits for the sum of the two times at most (clearml-agent 1.5.2 to 3.0.3).

        Args:
            task_id: id of the Task.
            grace_s: seconds that the program needs.
            every_s: seconds between two looks of the program at its Task.

        Returns:
            False if the program itself has asked for such a wait, and ends it.
        """
        wanted: dict[str, Any] = {_GRACE: float(grace_s), _EVERY: float(every_s)}
        is_free = True

        def merge(runtime: dict[str, Any]) -> dict[str, Any]:
            nonlocal is_free
            is_free = float(runtime.get(_GRACE) or 0) <= 0 or wanted.items() <= runtime.items()
            return {**runtime, **wanted, _IS_OVER: ""} if is_free else runtime

        replace(self._session, task_id, "runtime", merge)
        return is_free

    def end_grace(self, task_id: str) -> None:
        """Have an agent that waits end the Task's program, see `ask_for_grace`."""
        replace(self._session, task_id, "runtime", lambda runtime: {**runtime, _IS_OVER: 1})

    def delete_hyperparameters(self, task: Task, section: str, names: Collection[str]) -> None:
        """Delete hyperparameters of a section, if they are there."""

        def merge(sections: _Sections) -> _Sections:
            kept = {name: item for name, item in sections.get(section, {}).items() if name not in names}
            return {**sections, section: kept}

        items = [{"section": section, "name": name} for name in names]
        self._change("tasks.delete_hyper_params", "hyperparams", merge, task=task.id, hyperparams=items)

    def delete_sections(self, task: Task, sections: Collection[str], properties: Collection[str] = ()) -> None:
        """Delete whole sections of hyperparameters, and user properties, if they are there."""

        def merge(held: _Sections) -> _Sections:
            kept = {name: dict(items) for name, items in held.items() if name not in sections}
            for name in properties:
                kept.get("properties", {}).pop(name, None)
            return kept

        replace(self._session, task.id, "hyperparams", merge)

    def _change(self, action: str, field: str, merge: Any, /, **body: Any) -> None:
        change(self._session, action, field, merge, force=True, **body)
