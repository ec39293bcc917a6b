"""Prompts that a run has loaded or registered: a configuration object, a property that names them, and links."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from autoinstrument.clearml_api import storable
from autoinstrument.clearml_api.tasks import Task, Tasks
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.growing import GrowingPart
from autoinstrument.mirror.kinds.kind import Difference, Kind, RunPart, StoredData, TaskOfRun, listed
from autoinstrument.mirror.mapping import prompts
from autoinstrument.mirror.mapping.hyperparameters import PROPERTIES, hyperparameter
from autoinstrument.mirror.mapping.prompts import OBJECT, PROPERTY, label
from autoinstrument.mlflow_store.prompts import linked_prompts
from autoinstrument.mlflow_store.run_reader import RunReader
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import Prompt, PromptsUsed, Record


class Prompts(Kind):
    """MLflow's store names those that a run has loaded; those that it has registered were seen by the agent alone."""

    name = "prompt"
    task_fields = ("hyperparams",)

    def part(self, context: RunContext) -> RunPart:
        """See `Kind.part`."""
        return _PromptsPart(context)

    def may_be_there(self, run: StoredRun) -> bool:
        """See `Kind.may_be_there`."""
        return bool(linked_prompts(run.run.tags))

    def read(self, run: RunReader) -> Iterable[StoredData]:
        """Return one record."""
        return [run.state("prompts")]

    def glance(self, of: TaskOfRun) -> Iterator[Difference]:
        """Look for prompts that the run's tags name, and the Task does not."""
        linked = [label(*prompt) for prompt in linked_prompts(of.stored.run.tags)]
        if linked:
            held = of.section(PROPERTIES).get(PROPERTY, "").split(", ")
            yield from listed(self.name, "missing", [name for name in linked if storable.text(name) not in held])

    def compare(self, of: TaskOfRun, data: Iterable[StoredData], tasks: Tasks) -> Iterator[Difference]:
        """Compare the texts, which do not change; aliases and tags are those of the time at which they were read."""
        held = prompts.entries(of.configuration(OBJECT))
        for used in data:
            if isinstance(used, PromptsUsed):
                wanted = {label(each["name"], each["version"]): prompts.as_entry(each) for each in used.prompts}
                yield from listed(self.name, "missing", [name for name in wanted if name not in held])
                others = [name for name, entry in wanted.items() if name in held and _differs(held[name], entry)]
                yield from listed(self.name, "other than in MLflow", others)

    def facts(self, run: StoredRun, data: Iterable[StoredData]) -> Iterator[tuple[str, str]]:
        """Yield each prompt."""
        for used in data:
            for prompt in used.prompts if isinstance(used, PromptsUsed) else ():
                yield f"prompt {label(prompt['name'], prompt['version'])}", prompt["template"]


def _differs(held: dict[str, Any], wanted: dict[str, Any]) -> bool:
    template = storable.value(wanted.get("template"))
    return template is not None and held.get("template") not in (template, prompts.left_out(template))


class _PromptsPart(GrowingPart[Prompt]):
    name = "prompts"

    def __init__(self, context: RunContext) -> None:
        super().__init__(context, context.journal.prompts)

    def items_of(self, record: Record) -> list[Prompt]:
        return record.prompts if isinstance(record, PromptsUsed) else []

    def key(self, item: Prompt) -> str:
        return label(item["name"], item["version"])

    def found(self, task: Task, *, is_given: bool) -> None:
        run = self._context.run
        if OBJECT in task.configuration and is_given and run.owned and not run.resumed:  # a clone has its origin's
            self._context.tasks.set_configuration(task, [prompts.as_configuration({})])
            self._context.hyperparameters.delete(PROPERTIES, PROPERTY)

    def write(self, task: Task, items: list[Prompt]) -> None:
        context, configuration = self._context, self._context.tasks.get(task.id).get("configuration") or {}
        before = str((configuration.get(OBJECT) or {}).get("value") or "")
        entries = prompts.merged(prompts.entries(before), items)
        described = prompts.as_configuration(entries)
        if storable.text(described["value"]) != before:
            context.tasks.set_configuration(task, [described])
        names = ", ".join(storable.text(name) for name in entries)
        context.tasks.set_hyperparameters(task, [hyperparameter(PROPERTIES, PROPERTY, names, "str")])
        context.tasks.add_artifacts(task, list(prompts.pages(items, context.run)))
