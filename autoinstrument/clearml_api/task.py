"""A Task as the server describes it: the record of it, and whose it is."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from autoinstrument.named_tuple import NamedTuple

Hyperparameter = dict[str, str]
"""A hyperparameter or configuration item: section (hyperparameters only), name, value, type."""

DEVELOPMENT = "development"
"""System tag of a Task that no agent has started. A Task that is created here has it, and a clone loses it."""
ADOPTED = "mlflow_task_adopted"
"""User property of a Task that a run has adopted: the Task's own id. A clone keeps the property, but has another id."""
GIVEN_TAGS = "mlflow_task_tags"
"""User property that lists, as JSON, the tags that a Task was given."""
EXPERIMENT = "mlflow_experiment"
"""User property with the name of the run's experiment; the Task's project is named by it."""
_PLACE = ("mlflow_experiment_id", "mlflow_tracking_uri", "mlflow_workspace")
_RUN_ID = "mlflow_run_id"
_AWAITED, _NAMED = "mlflow_run_id", "mlflow_task_name"
"""Runtime properties of a Task that was queued for a run: the run's id, and the name that the Task was given then. A
clone has no runtime properties, and a reset removes them (API 2.34): both begin a run of their own."""
_LONG = 4_000
"""Characters of a configuration object that are kept of a Task."""
_NAME_OF_CLONE = "clone of "
"""Beginning of the names that ClearML gives to clones: "Clone Of" (web pages 2.5), "Clone of" (SDK 1.16 to 2.1)."""


class Task(NamedTuple):
    """A Task on the server.

    Attributes:
        adopted: the user's script or an agent created it. It keeps its own status, console, name and comment.
        points: number of points of each curve when it was found: (title, series) to the server's own count.
        artifacts: the output artifacts that it had when it was found, by key.
        status: its status when it was found; "in_progress" if it was created here.
        output: its output destination for artifacts, "" for the configured one.
        run_id: id of the run that it named when it was found.
        parent: id of its parent Task when it was found, "" for none.
        comment: its comment when it was found.
        name: its name when it was found.
        configuration: its configuration objects when it was found, name to text, of long ones the beginning.
        given_tags: the property that lists the tags that it was given, "" for none.
        experiment: name of the experiment that it named when it was found, and by which its project was named.
        given_name: the name that it was given when it was queued for its run, "" if it was not.
        properties: names of the user properties that it had when it was found.
        arguments: names of the arguments, in the section `Args`, that it had when it was found.
    """

    id: str
    url: str
    adopted: bool
    points: dict[tuple[str, str], int]
    artifacts: dict[str, dict[str, Any]]
    status: str
    output: str
    run_id: str = ""
    parent: str = ""
    comment: str = ""
    name: str = ""
    configuration: Mapping[str, str] = MappingProxyType({})
    given_tags: str = ""
    experiment: str = ""
    given_name: str = ""
    properties: frozenset[str] = frozenset()
    arguments: frozenset[str] = frozenset()

    @property
    def has_own_name(self) -> bool:
        """True if a person, a script or an optimiser has named it; ClearML's pages and SDK name a clone."""
        is_given = self.name == self.given_name or self.name.lower().startswith(_NAME_OF_CLONE)
        return self.adopted and not is_given


def task_from(found: Mapping[str, Any], url: str, *, adopted: bool) -> Task:
    """Return the record of a Task as `tasks.get_by_id` describes it.

    Args:
        found: a Task that `schema.task` has checked.
        url: address of its page.
        adopted: it is known to be adopted; else its properties decide.
    """
    return Task(
        found["id"],
        url,
        adopted or is_adopted(found),
        points_of(found),
        _artifacts(found),
        str(found.get("status") or ""),
        str((found.get("output") or {}).get("destination") or ""),
        run_of(found),
        str(found.get("parent") or ""),
        str(found.get("comment") or ""),
        str(found.get("name") or ""),
        {name: str(item.get("value") or "")[:_LONG] for name, item in (found.get("configuration") or {}).items()},
        property_of(found, GIVEN_TAGS),
        property_of(found, EXPERIMENT),
        str((found.get("runtime") or {}).get(_NAMED) or ""),
        frozenset((found.get("hyperparams") or {}).get("properties") or {}),
        frozenset((found.get("hyperparams") or {}).get("Args") or {}),
    )


def is_adopted(task: Mapping[str, Any]) -> bool:
    """Return True if the properties of a Task say that a run has adopted it, see `Task.adopted`."""
    return bool(task.get("id")) and property_of(task, ADOPTED) == task["id"]


def has_had_run(task: Mapping[str, Any]) -> bool:
    """Return True if a run has had this Task, whatever its status is now; a clone has had none."""
    return is_adopted(task) or DEVELOPMENT in (task.get("system_tags") or [])


def is_of_run(task: Mapping[str, Any], run_id: str) -> bool:
    """Return True if a Task is a run's own, which it may be even if it has lost its properties.

    A clone is not, even after it has run, and neither is a Task that waits for an agent or that its owner has reset:
    it will belong to another run, unless it was queued for this one.
    """
    status = task.get("status")
    if awaited_run(task) == run_id:
        return True
    if run_of(task) not in ("", run_id):
        return False
    if is_adopted(task):
        return status not in ("created", "queued")
    return DEVELOPMENT in (task.get("system_tags") or []) and status != "queued"


def run_of(task: Mapping[str, Any]) -> str:
    """Return the id of the run that a Task names, "" for none; a clone names the run of its origin."""
    return property_of(task, _RUN_ID)


def experiment_of(task: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what identifies the experiment of a Task's run: its id, its store and its workspace.

    An empty tuple means that this is not known: no run has the Task, or a release made it that did not write the id.
    """
    is_own = bool(run_of(task)) and is_of_run(task, run_of(task)) and not is_adopted(task)
    place = tuple(property_of(task, name) for name in _PLACE)
    return place if is_own and place[0] else ()


def store_of(task: Mapping[str, Any]) -> tuple[str, str]:
    """Return the address of the MLflow store that has the run of a Task, and the workspace in it."""
    return property_of(task, "mlflow_tracking_uri"), property_of(task, "mlflow_workspace")


def awaiting(run_id: str, name: str) -> dict[str, str]:
    """Return the runtime properties of a Task that is queued for a run, and is given this name."""
    return {_AWAITED: run_id, _NAMED: name}


def awaited_run(task: Mapping[str, Any]) -> str:
    """Return the id of the run that a Task was queued for: its program continues this run. "" for none."""
    return str((task.get("runtime") or {}).get(_AWAITED) or "")


def artifact_identity(artifact: Mapping[str, Any]) -> tuple[str, str]:
    """Return key and mode of an artifact, which together identify it on its Task."""
    return str(artifact.get("key")), str(artifact.get("mode") or "output")


def property_of(task: Mapping[str, Any], name: str) -> str:
    """Return the value of a user property of a Task, "" for none."""
    properties = (task.get("hyperparams") or {}).get("properties") or {}
    return str((properties.get(name) or {}).get("value") or "")


def points_of(task: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    """Return the number of points of each curve by the server's own count: (title, series) to number."""
    return {
        (last.get("metric", ""), last.get("variant", "")): int(last.get("count") or 0)
        for variants in (task.get("last_metrics") or {}).values()
        for last in variants.values()
    }


def _artifacts(task: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    held = (task.get("execution") or {}).get("artifacts") or []
    return {artifact["key"]: artifact for artifact in held if artifact_identity(artifact)[1] == "output"}
