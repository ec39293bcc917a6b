"""The differences between two runs: in the data in MLflow, and in the code and environment that their Tasks hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.clone_run.task_content import code_fields, comparable_packages, container_fields
from autoinstrument.mlflow_store.link_tags import TASK_ID
from autoinstrument.mlflow_store.runs import StoredRun

_ARGUMENTS = "Args"
_OF_MLFLOW = ("mlflow.", "clearml.")
"""Tags that these begin with describe the run's place and links, not the experiment."""


class Deviation(NamedTuple):
    """One difference between two runs.

    Attributes:
        section: "parameter", "argument", "metric", "tag", "code", "package" or "container".
        name: what it is.
        first: its value in the first run, None if that has none.
        second: its value in the second run, None if that has none.
    """

    section: str
    name: str
    first: str | None
    second: str | None


class RunDiff(NamedTuple):
    """All differences between two runs.

    Attributes:
        deviations: the differences, by section.
        without_task: names of runs that have no Task: then arguments, code, packages and container are left out.
    """

    deviations: list[Deviation]
    without_task: list[str]


def compare_runs(first: StoredRun, second: StoredRun, tasks: Tasks) -> RunDiff:
    """Compare two runs and their Tasks.

    Raises:
        ClearMLError: the server does not answer.
    """
    held = [(run, _task(run, tasks)) for run in (first, second)]
    without = [run.run.run_name or run.run.run_id for run, task in held if not task]
    one, other = (task for _, task in held)
    found = [
        *_differing("parameter", first.params, second.params),
        *(_differing("argument", _arguments(one), _arguments(other)) if not without else ()),
        *_differing("metric", _numbers(first.metrics), _numbers(second.metrics)),
        *_differing("tag", _tags(first), _tags(second)),
    ]
    if not without:
        found += _differing("code", code_fields(one), code_fields(other))
        found += _differing("package", *comparable_packages(one, other))
        found += _differing("container", container_fields(one), container_fields(other))
    return RunDiff(found, without)


def _task(stored: StoredRun, tasks: Tasks) -> dict[str, Any]:
    task_id = tasks.of_run(stored.run.run_id, stored.run.tags.get(TASK_ID, ""))
    return tasks.get(task_id) if task_id else {}


def _differing(section: str, first: Mapping[str, str], second: Mapping[str, str]) -> Iterator[Deviation]:
    for name in sorted({*first, *second}):
        one, other = first.get(name), second.get(name)
        if one != other:
            yield Deviation(section, name, one, other)


def _numbers(metrics: Mapping[str, float]) -> dict[str, str]:
    return {name: repr(value) for name, value in metrics.items()}


def _tags(stored: StoredRun) -> dict[str, str]:
    return {name: value for name, value in stored.run.tags.items() if not name.startswith(_OF_MLFLOW)}


def _arguments(task: Mapping[str, Any]) -> dict[str, str]:
    section = (task.get("hyperparams") or {}).get(_ARGUMENTS) or {}
    return {name: str(item.get("value", "")) for name, item in section.items()}
