"""The queues of a ClearML server: put Tasks into them and take them out, and see whether an agent serves a queue."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from autoinstrument.clearml_api.errors import ClearMLError, RefusedError, understood
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.task import Task
from autoinstrument.clearml_api.tasks import Tasks


@understood
class Queues:
    """The queues of one server. Every method raises `ClearMLError` if the server does not do it."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def create_queued(
        self,
        tasks: Tasks,
        queue: str,
        project: str,
        body: dict[str, Any],
        complete: Callable[[Task], object] = lambda _: None,
    ) -> tuple[Task, str]:
        """Create a Task and put it into a queue; if that fails, no Task is left.

        Args:
            tasks: the Tasks of the same server.
            queue: name of the queue, which is created if there is none; "" for the server's default queue.
            project: name of the Task's project.
            body: other fields of the Task.
            complete: adds what can be written only once the Task has an id.

        Returns:
            The Task, and the id of the queue.
        """
        return self.queued(tasks, tasks.create(project, body), queue, complete)

    def queued(
        self, tasks: Tasks, task: Task, queue: str, complete: Callable[[Task], object] = lambda _: None
    ) -> tuple[Task, str]:
        """Put a Task that was just made into a queue, as `create_queued` does; if that fails, it is deleted."""
        try:
            complete(task)
            fields = self._session.call("tasks.enqueue", task=task.id, **({"queue_name": queue} if queue else {}))
        except ClearMLError:
            with contextlib.suppress(ClearMLError):
                tasks.delete(task)
            raise
        return task, str((fields.get("fields") or {}).get("execution.queue") or "")

    def move_to_front(self, task: Task, queue_id: str) -> None:
        """Move a Task to the front of its queue, unless an agent has taken it by now."""
        with contextlib.suppress(RefusedError):
            self._session.call("queues.move_task_to_front", queue=queue_id, task=task.id)

    def has_agent(self, queue_id: str) -> bool:
        """Return True if an agent that has reported within the last minutes serves a queue."""
        found = self._session.call("queues.get_all_ex", id=[queue_id], only_fields=["id", "workers"]).get("queues")
        return any(queue.get("workers") for queue in found or [])

    def take_out(self, task_id: str) -> None:
        """Take a Task out of its queue, if it is in one."""
        self._session.call("tasks.dequeue", task=task_id)
