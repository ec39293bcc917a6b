"""Write Tasks: every request about a Task that is ever sent, in the words of ClearML's API.

A Task is made from a record, in one request, and started in a second one; nothing of the SDK's `Task` class is used (see
docs for what `Task.init` does to a process). Status rules and refusals are the server's: a finished Task takes events,
tags and properties, but no parameters and no artifacts, not even with force (API 2.34).
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, NamedTuple

from autoinstrument.mirror import mapping
from autoinstrument.mirror.captures import Capture
from autoinstrument.settings import Settings
from autoinstrument.to_clearml.errors import RefusedError
from autoinstrument.to_clearml.session import Session

_ALREADY_EXISTS = (400, 801)
_NO_SUCH_TASK = (400, 101)


class Task(NamedTuple):
    """A Task on the server.

    Attributes:
        adopted: the user's script or an agent made it: its status and console are theirs.
        points: how many points it holds, by metric key.
    """

    id: str
    url: str
    adopted: bool
    points: Counter[str]


class Tasks:
    """The Tasks of one server."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self._session = session
        self._settings = settings
        self._projects: dict[str, str] = {}
        self.of_run: dict[str, str] = {}
        """Task ids by run id, of the runs that went through here: the parents of nested runs."""

    def make(self, capture: Capture, params: list[dict[str, str]], note: str) -> Task:
        """Create and start the Task of a run, with capture, parameters, links and note.

        Raises:
            ClearMLError: there is no Task.
        """
        run, process = capture.run, capture.process
        project_id = self._project(mapping.project_name(self._settings, run, process))
        items = [*mapping.properties(run), *params, *mapping.arguments(process.arguments if process else ())]
        body: dict[str, Any] = {
            "name": mapping.task_name(self._settings, run, process),
            "type": "training",
            "project": project_id,
            "tags": ["mlflow"],
            "system_tags": ["development"],  # as the SDK marks what was not started by an agent; a clone loses it
            "script": _script(capture),
            "hyperparams": mapping.sections(items),
            "configuration": _configuration(capture),
            "execution": {"artifacts": mapping.link_artifact(run)},
        }
        if note:
            body["comment"] = note
        if run.parent_run_id in self.of_run:
            body["parent"] = self.of_run[run.parent_run_id]
        task_id = str(self._session.call("tasks.create", **body)["id"])
        self.of_run[run.run_id] = task_id
        capture.task_id = task_id  # from here on a failure must not make a second one
        self._session.call("tasks.started", task=task_id, force=True)
        return Task(task_id, self._session.web_page(task_id, project_id), False, Counter())

    def take_over(self, capture: Capture, params: list[dict[str, str]]) -> Task:
        """Go on with a Task that exists: adopted from the script or an agent, or this run's from an earlier time.

        Raises:
            ClearMLError: it cannot be read or written.
        """
        task_id = capture.task_id
        try:
            found = self._session.call("tasks.get_by_id", task=task_id)["task"]
        except RefusedError as error:
            if error.code == _NO_SUCH_TASK and not capture.adopted:  # deleted in ClearML: the run gets a new one
                capture.task_id, capture.console_sent = "", 0
                return self.make(capture, params, capture.run.tags.get(mapping.NOTE, ""))
            raise
        self.of_run[capture.run.run_id] = task_id
        task = Task(
            task_id,
            self._session.web_page(task_id, str(found.get("project") or "*")),
            capture.adopted,
            _points(found),
        )
        if not capture.adopted and found.get("status") != "in_progress":
            self._session.call("tasks.started", task=task_id, force=True)
        items = [*mapping.properties(capture.run), *params]
        if not capture.adopted and capture.process is not None:
            items += mapping.arguments(capture.process.arguments)
        self.set_hyperparameters(task, items)
        artifacts = mapping.link_artifact(capture.run)
        if artifacts:
            self._session.call("tasks.add_or_update_artifacts", task=task_id, artifacts=artifacts, force=True)
        if "mlflow" not in (found.get("tags") or []):
            self._session.call("tasks.update_tags", ids=[task_id], add_tags=["mlflow"])
        return task

    def describe(self, task: Task, capture: Capture) -> None:
        """Write script, packages, arguments and freeze again.

        Raises:
            ClearMLError: the server did not take them.
        """
        if task.adopted:
            return
        self.edit(task, script=_script(capture))
        if capture.process is not None and capture.process.arguments:
            self.set_hyperparameters(task, mapping.arguments(capture.process.arguments))
        items = list(_configuration(capture).values())
        if items:
            self._session.call("tasks.edit_configuration", task=task.id, configuration=items, force=True)

    def set_hyperparameters(self, task: Task, items: list[dict[str, str]]) -> None:
        """Add hyperparameters or change them; others stay.

        Raises:
            ClearMLError: the server did not take them.
        """
        if items:
            self._session.call("tasks.edit_hyper_params", task=task.id, hyperparams=items, force=True)

    def edit(self, task: Task, **fields: Any) -> None:
        """Replace fields of the Task.

        Raises:
            ClearMLError: the server did not take them.
        """
        self._session.call("tasks.edit", task=task.id, force=True, **fields)

    def add_events(self, events: list[dict[str, Any]]) -> None:
        """Send scalars or console lines.

        Raises:
            ClearMLError: not all of them were taken.
        """
        self._session.add_events(events)

    def finish(self, task: Task, status: str, reason: str, message: str) -> None:
        """Set the last status, whatever the present one is.

        Raises:
            ClearMLError: the server did not take it.
        """
        self._session.call(f"tasks.{status}", task=task.id, status_reason=reason, status_message=message, force=True)

    def ping(self, task: Task) -> None:
        """Tell the server that the Task is alive.

        Raises:
            ClearMLError: it did not answer.
        """
        self._session.call("tasks.ping", task=task.id)

    def delete(self, task: Task) -> None:
        """Delete a Task that was made here and that another one replaces.

        Raises:
            ClearMLError: the server did not delete it.
        """
        self._session.call("tasks.delete", task=task.id, force=True, delete_output_models=False)

    def _project(self, name: str) -> str:
        """Return the id of the project of exactly this name, made where there is none."""
        if name not in self._projects:
            found = self._find_project(name)
            if not found:
                try:
                    found = str(self._session.call("projects.create", name=name, description="")["id"])
                except RefusedError as error:
                    if error.code != _ALREADY_EXISTS:  # somebody else was quicker
                        raise
                    found = self._find_project(name)
            self._projects[name] = found
        return self._projects[name]

    def _find_project(self, name: str) -> str:
        found = self._session.call(
            "projects.get_all",
            name=f"^{re.escape(name)}$",
            only_fields=["id"],
            search_hidden=True,
            shallow_search=False,
        ).get("projects")
        return str(found[0]["id"]) if found else ""


def _script(capture: Capture) -> dict[str, Any]:
    return {**capture.script, "requirements": {"pip": capture.requirements}}


def _configuration(capture: Capture) -> dict[str, dict[str, str]]:
    if not capture.freeze:
        return {}
    name = "pip freeze"
    item = {"name": name, "value": capture.freeze, "type": "text", "description": "all installed packages"}
    return {name: item}


def _points(task: dict[str, Any]) -> Counter[str]:
    """Return how many points each metric of a Task holds, from the server's own count."""
    points: Counter[str] = Counter()
    for variants in (task.get("last_metrics") or {}).values():
        for last in variants.values():
            title, series = last.get("metric", ""), last.get("variant", "")
            points[title if title == series else f"{title}/{series}"] += int(last.get("count") or 0)
    return points
