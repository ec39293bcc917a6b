"""Find Tasks and read them."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from autoinstrument.clearml_api import schema
from autoinstrument.clearml_api.errors import RefusedError, understood
from autoinstrument.clearml_api.joint_searches import JointSearches
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.task import Task, is_of_run, run_of, task_from

_AT_ONCE = 500
"""Tasks that one request asks for: the server's default page (API 2.34)."""
_STATUS = ("id", "status", "status_reason", "status_message")
_DATA_SET = "dataset"


class TaskStatus(NamedTuple):
    """The status of a Task.

    Attributes:
        task_id: its id.
        status: ClearML's word; "stopped" also for a Task that must stop.
        reason, message: the texts that were given with the status; "" for none.
    """

    task_id: str
    status: str
    reason: str
    message: str


def read(session: Session, task_id: str) -> dict[str, Any]:
    """Return a Task as the server holds it.

    Raises:
        ClearMLError: it cannot be read.
        ValueError, KeyError: the response does not hold a Task; for callers that are `understood`.
    """
    return schema.task(session.call("tasks.get_by_id", task=task_id)["task"])


@understood
class TaskLookup:
    """Reads the Tasks of one server. Every method raises `ClearMLError` if the server does not answer."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @functools.cached_property
    def _searches(self) -> JointSearches:
        return JointSearches(self.of_runs)

    def get(self, task_id: str) -> dict[str, Any]:
        """Return a Task as the server holds it, an empty dictionary if there is none."""
        try:
            return read(self._session, task_id)
        except RefusedError as error:
            if error.is_gone:
                return {}
            raise

    def find(self, task_id: str, *, adopted: bool, run_id: str = "") -> Task | None:
        """Return a Task, None if it is gone or not the run's own.

        Args:
            task_id: id of the Task.
            adopted: it is known to be adopted; else its properties decide.
            run_id: the run that it must belong to, "" for any.
        """
        found = self.get(task_id)
        if not found or (run_id and not is_of_run(found, run_id)):
            return None
        page = self._session.login.task_page(task_id, str(found.get("project") or "*"))
        return task_from(found, page, adopted=adopted)

    def of_run(self, run_id: str, linked: str = "") -> str:
        """Return the id of a run's Task, "" for none: the one that the run is linked to, else the oldest."""
        return str(self.chosen(run_id, linked, self._searches.of_run(run_id)).get("id", ""))

    def chosen(self, run_id: str, linked: str, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return a run's Task among those `found` for it; if there are none, the linked one, unless another run has it.

        Args:
            run_id: the run.
            linked: id of the Task that the run is linked to, "" for none.
            found: Tasks of the run, as `of_runs` returns them.
        """
        for task in found:
            if task["id"] == linked:
                return task
        if found:
            return found[0]
        task = self.get(linked) if linked else {}
        return task if task and is_of_run(task, run_id) else {}

    def of_runs(self, run_ids: Sequence[str], fields: Sequence[str] = ()) -> dict[str, list[dict[str, Any]]]:
        """Return `fields` of the Tasks that belong to some runs, by run id, the oldest first; a run may have none.

        A clone names its origin's run too until an agent runs it. It belongs to a person, not to that run.
        """
        # `hyperparams.*` can be queried for (clearml-server 1.x and 2.x; the web UI filters so). A server that cannot
        # do that answers with any Tasks.
        properties = [] if "hyperparams" in fields else ["hyperparams.properties"]
        answer = self._session.call(
            "tasks.get_all",
            **{"hyperparams.properties.mlflow_run_id.value": list(run_ids)},
            tags=["mlflow"],
            only_fields=list(dict.fromkeys(["id", "status", "system_tags", "runtime", *properties, *fields])),
            order_by=["created"],
            page_size=10 * len(run_ids),
        )
        found: dict[str, list[dict[str, Any]]] = {}
        for task in map(schema.task, answer.get("tasks") or []):
            run_id = run_of(task)
            if run_id in run_ids and is_of_run(task, run_id):
                found.setdefault(run_id, []).append(task)
        return found

    def add_configuration(self, tasks: Sequence[dict[str, Any]], name: str) -> None:
        """Add one configuration object to the descriptions of some Tasks, of those that have it."""
        if not tasks:
            return
        by_id = {str(task["id"]): task for task in tasks}
        answer = self._session.call("tasks.get_configurations", tasks=list(by_id), names=[name])
        for found in answer.get("configurations") or []:
            if task := by_id.get(found["task"]):
                task["configuration"] = {item["name"]: item for item in found["configuration"]}
                schema.task(task)

    def tagged_children(self, parent_id: str, tag: str) -> list[dict[str, Any]]:
        """Return the child Tasks of a Task that have a tag, with what says whose they are."""
        fields = ["id", "status", "system_tags", "runtime", "hyperparams.properties"]
        # A pipeline's project is hidden, and so may be what is in it.
        answer = self._session.call(
            "tasks.get_all", parent=parent_id, tags=[tag], only_fields=fields, search_hidden=True
        )
        return list(map(schema.task, answer.get("tasks") or []))

    def signs_of_life(self, task_ids: Collection[str]) -> list[dict[str, Any]]:
        """Return what shows whether the processes of some Tasks are alive, without the Tasks that are gone.

        These are status, its texts, `last_update`, `runtime`, system tags and properties.

        The server moves `last_update`, by its own clock, with each event and each ping of a Task (API 2.34).
        """
        fields = [*_STATUS, "last_update", "runtime", "system_tags", "hyperparams.properties"]
        return self._of_ids(task_ids, fields)

    def data_sets(self, ids: Collection[str]) -> dict[str, tuple[str, str]]:
        """Return name and page of those ids that are data sets of ClearML's, which are Tasks with a system tag."""
        data_sets = {}
        for task in self._of_ids(ids, ["id", "name", "project", "system_tags"]):
            if _DATA_SET in (task.get("system_tags") or []):
                project = str(task.get("project") or "*")
                host = self._session.login.task_page(task["id"], project).partition("/projects/")[0]
                # As the SDK prints it (`Dataset.create`, clearml 1.16 to 2.1.12).
                page = f"{host}/datasets/simple/{project}/experiments/{task['id']}"
                data_sets[str(task["id"])] = str(task.get("name") or ""), page
        return data_sets

    def statuses(self, task_ids: Collection[str]) -> list[TaskStatus]:
        """Return the statuses of those Tasks that exist."""
        return [
            TaskStatus(
                str(task["id"]),
                "stopped" if _must_stop(task) else str(task.get("status") or ""),
                str(task.get("status_reason") or ""),
                str(task.get("status_message") or ""),
            )
            for task in self._of_ids(task_ids, _STATUS)
        ]

    def end_of(self, task_id: str) -> tuple[str, str] | None:
        """Return the status of a Task whose agent ends it, and the reason; None for one that goes on.

        The status is "stopped" also while the agent has yet to stop it, and "" for a Task that was deleted. An agent
        also ends the process of a Task that another user has ended (clearml-agent 3.0.3, `TaskStopSignal`).
        """
        (task,) = self._of_ids([task_id], _STATUS) or [{}]
        status = str(task.get("status") or "")
        if _must_stop(task):
            reason = " ".join(filter(None, (task.get("status_message"), task.get("status_reason"))))
            return "stopped", f"aborted in ClearML: {reason}"
        if status in ("created", "queued", ""):
            return status, f"the Task was {'reset' if status else 'deleted'} in ClearML"
        if status in ("failed", "closed", "published"):
            return "stopped", f"the Task was set to {status} in ClearML"
        return None

    def _of_ids(self, ids: Collection[str], fields: Sequence[str]) -> list[dict[str, Any]]:
        """Return fields of those Tasks that exist."""
        left, found = list(ids), list[dict[str, Any]]()
        while left:
            some, left = left[:_AT_ONCE], left[_AT_ONCE:]
            answer = self._session.call("tasks.get_all", id=some, only_fields=fields, page_size=_AT_ONCE)
            found += map(schema.task, answer.get("tasks") or [])
        return found


def _must_stop(task: Mapping[str, Any]) -> bool:
    """Return True if a Task is stopped, or must stop.

    `tasks.stop` sets a Task `stopped`, or leaves it running with the message "stopping" if a worker reports for it
    (API 2.34).
    """
    return bool(task.get("status") == "stopped" or task.get("status_message") == "stopping")
