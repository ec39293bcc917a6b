"""The links between a run and its Task: properties and a link artifact on the Task, the parent, and tags on the run."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any

from autoinstrument.clearml_api.tasks import Task, is_adopted, is_of_run, property_of, run_of, store_of
from autoinstrument.clone_run.lineage import CLONED_FROM_RUN, as_properties, as_property
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.kind import Difference, Kind, RunPart, StoredData, TaskOfRun, listed
from autoinstrument.mirror.kinds.parameters import SECTION
from autoinstrument.mirror.kinds.tags import TAGS_SECTION
from autoinstrument.mirror.mapping import links
from autoinstrument.mirror.mapping.hyperparameters import PROPERTIES, hyperparameter
from autoinstrument.mlflow_store.describe import PARENT_RUN
from autoinstrument.mlflow_store.link_tags import STATE, TASK_ID
from autoinstrument.mlflow_store.run_reader import RunReader
from autoinstrument.mlflow_store.runs import StoredRun


class Links(Kind):
    """The Task's part is written here; the tags on the run are written when the Task is complete (`completion`)."""

    name = "link"
    task_fields = ("hyperparams", "parent")
    is_in_search = True

    def part(self, context: RunContext) -> RunPart:
        """See `Kind.part`."""
        return _LinksPart(context)

    def read(self, run: RunReader) -> Iterable[StoredData]:
        """Return nothing: the run itself is what a Task leads back to."""
        return ()

    def glance(self, of: TaskOfRun) -> Iterator[Difference]:
        """Compare both directions; a deleted run takes no tags."""
        run, task = of.stored.run, of.task
        if of.section(PROPERTIES).get("mlflow_run_id") != run.run_id:
            yield Difference("link", "the Task has no property mlflow_run_id of this run")
        if not (task.get("parent") or of.is_adopted) and (parent := of.parent()):
            yield Difference("link", f"it has no parent, though the run's parent has the Task {parent}")
        if of.stored.deleted:
            return
        linked = run.tags.get(TASK_ID, "")
        if linked != task.get("id"):
            yield Difference("link", f"the run's tag {TASK_ID} is {linked!r}, its Task is {task.get('id')}")
        elif of.stored.has_ended and run.tags.get(STATE) != "synced":
            yield Difference("link", f"the run's tag {STATE} is {run.tags.get(STATE, '')!r}, though it has ended")
        origin = links.origin(task, run.tags)
        yield from listed("link", "tags missing", [tag for tag, value in origin.items() if run.tags.get(tag) != value])

    def facts(self, run: StoredRun, data: Iterable[StoredData]) -> Iterable[tuple[str, str]]:
        """Return where the run is in MLflow."""
        return [("parent", "yes" if run.run.parent_run_id else "no")]


class _LinksPart(RunPart):
    is_needed = True

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._has_artifact = True
        self._was_nested_at_end = False

    @property
    def has_work(self) -> bool:
        return not self._has_artifact

    def initial(self) -> dict[str, Any]:
        run = self._context.run
        self._context.hyperparameters.put(links.properties(run))
        return {"tags": [links.TAG], "execution": {"artifacts": links.link_artifact(run)}}

    def created(self, *, bare: bool) -> None:
        self._has_artifact = not bare

    def found(self, task: Task, *, is_given: bool) -> None:
        self._nest(task)
        context, run = self._context, self._context.run
        if is_given and run.owned and not run.resumed:  # a clone holds its origin's data
            unknown = [name for name, value in as_properties(run).items() if not value]
            context.tasks.delete_sections(task, (SECTION, TAGS_SECTION), unknown)
        if run.owned:
            self._context.hyperparameters.put(links.properties(run, task.id if task.adopted else ""))
            context.tasks.add_artifacts(task, links.link_artifact(run))
            context.tasks.add_tags(task, [links.TAG])

    def conclude(self, task: Task) -> None:
        """Nest the run if the run above it has begun in the meantime, and the runs that were too early for that."""
        if self._was_nested_at_end:
            return
        if self._nest(task):
            value = self._context.run.tags[PARENT_RUN]
            self._context.hyperparameters.put([hyperparameter(PROPERTIES, as_property(PARENT_RUN), value, "str")])
        self._context.journal.steps = self._early_steps(task)
        self._was_nested_at_end = True

    def _nest(self, task: Task) -> bool:
        """Nest the run of a pipeline's step, or of an optimiser's job, below the run of the Task's parent.

        The parent of a clone that a person makes is its origin, which is not above it. Return True if the run was not
        nested before.

        Raises:
            ClearMLError: the server did not answer.
        """
        context, run = self._context, self._context.run
        if not (task.adopted and task.parent and run.owned) or run.tags.get(PARENT_RUN):
            return False
        parent = context.tasks.get(task.parent)
        found = run_of(parent)
        if found in ("", run.run_id, task.run_id, run.tags.get(CLONED_FROM_RUN)) or not is_of_run(parent, found):
            return False
        if store_of(parent) != links.store(run):
            return False
        context.change_run(tags={**run.tags, PARENT_RUN: found})
        return True

    def _early_steps(self, task: Task) -> list[str]:
        """Return the runs of steps or jobs that had ended when the Task above them was not known to have this run.

        Raises:
            ClearMLError: the server did not answer.
        """
        run, lineages = self._context.run, (as_property(PARENT_RUN), as_property(CLONED_FROM_RUN))
        if not (task.adopted and run.owned):
            return []
        steps = []
        for child in self._context.tasks.tagged_children(task.id, links.TAG):
            found, (parent, origin) = run_of(child), (property_of(child, name) for name in lineages)
            is_below = is_adopted(child) and is_of_run(child, found) and store_of(child) == links.store(run)
            if is_below and not parent and {found, origin}.isdisjoint({run.run_id, task.run_id} - {""}):
                steps.append(found)
        return steps

    def send(self, task: Task) -> None:
        if not self._has_artifact:
            add = functools.partial(self._context.tasks.add_artifacts, task)
            artifacts = links.link_artifact(self._context.run)
            self._context.rejections.send_each(add, artifacts, lambda artifact: str(artifact["key"]))
            self._has_artifact = True
