"""Create Tasks, start and end them, keep them alive, archive and delete them."""

from __future__ import annotations

import time
from typing import Any

from autoinstrument.clearml_api.errors import InternalError, RefusedError, UnavailableError, understood
from autoinstrument.clearml_api.projects import Projects
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.task import Task


@understood
class TaskLifecycle:
    """Creates and ends Tasks of one server. Every method raises `ClearMLError` if the server does not do it.

    Attributes:
        projects: the projects of these Tasks.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.projects = Projects(session)

    def create(self, project: str, body: dict[str, Any]) -> Task:
        """Create a Task, which is not started by that.

        There is only one attempt: if its response is lost, the Task may exist.

        Args:
            project: name of its project, which is created if there is none.
            body: the other fields of `tasks.create`.
        """
        project_id = self.projects.id_of(project)
        try:
            task_id = str(self._session.call_once("tasks.create", project=project_id, **body)["id"])
        except RefusedError:
            self.projects.forget(project)  # a person may have deleted it
            raise
        page = self._session.login.task_page(task_id, project_id)
        return Task(task_id, page, False, {}, {}, "in_progress", "")

    def clone(self, task_id: str, project: str, name: str, tags: list[str]) -> Task:
        """Create a clone of a Task, in one attempt; the clone's parent is that Task.

        Args:
            task_id: id of the Task.
            project: name of the clone's project, "" for that of the Task.
            name: the clone's name.
            tags: the clone's tags.
        """
        place = {"new_task_project": self.projects.id_of(project)} if project else {}
        answer = self._session.call_once(
            "tasks.clone", task=task_id, new_task_name=name, new_task_tags=tags, **place
        )  # fmt: skip
        clone_id = str(answer["id"])
        return Task(clone_id, self._session.login.task_page(clone_id, "*"), False, {}, {}, "created", "")

    def start(self, task: Task, reason: str = "") -> None:
        """Set a Task running, whatever its present status is; this replaces the reason of that status."""
        self._session.call("tasks.started", task=task.id, status_reason=reason, force=True)

    def finish(self, task: Task, status: str, reason: str, message: str, *, force: bool = True) -> None:
        """Set the last status ("completed", "failed" or "stopped"), with `force` whatever the present one is.

        Raises:
            RefusedError: without `force`, the present status forbids it (`is_finished`).
        """
        texts = {"status_reason": reason, "status_message": message}
        self._session.call(f"tasks.{status}", task=task.id, **texts, force=force)

    def move(self, task: Task, before: str, project_id: str) -> Task:
        """Move a Task to another project, with the models that were created for it; return it as it is then.

        Args:
            task: the Task, whatever its status is.
            before: id of its project. Models that are in other projects stay there.
            project_id: id of the other project.
        """
        if models := [str(model["id"]) for model in self.projects.models_in(before, task.id)]:
            self._session.call("models.move", ids=models, project=project_id)
        self._session.call("tasks.move", ids=[task.id], project=project_id)
        return task._replace(url=self._session.login.task_page(task.id, project_id))

    def stop(self, task: Task) -> None:
        """Ask for a Task to be stopped; the server does it at once, unless an agent runs the Task and must do it."""
        self._session.call("tasks.stop", task=task.id)

    def archive(self, task: Task, archived: bool) -> None:
        """Archive a Task, or take it back out of the archive."""
        self._session.call("tasks.archive_many" if archived else "tasks.unarchive_many", ids=[task.id])

    def ping(self, task: Task) -> None:
        """Report that the Task is alive; the server stops Tasks that are silent for two hours."""
        self._session.call("tasks.ping", task=task.id)

    def confirm_well(self, task: Task, after_s: float) -> None:
        """Wait, then check that the server can write to the Task, by a request that it cannot refuse.

        Raises:
            ClearMLError: it cannot; never an `InternalError`, because the content of this request causes none.
        """
        time.sleep(after_s)
        try:
            self.ping(task)
        except InternalError as error:
            raise UnavailableError(str(error)) from error

    def delete(self, task: Task) -> None:
        """Delete a Task that was created here and that another one replaces."""
        self._session.call("tasks.delete", task=task.id, force=True, delete_output_models=False)
