"""The Task of one run: found or made, set running again, and placed below the Task of the run's parent."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from autoinstrument.clearml_api.attempts import ATTEMPTS, PATIENCE_S
from autoinstrument.clearml_api.errors import HiccupError, InternalError, RefusedError, UnavailableError
from autoinstrument.clearml_api.tasks import DEVELOPMENT, Task
from autoinstrument.clone_run.task_description import is_taken
from autoinstrument.guard import logger
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.mapping.hyperparameters import PROPERTIES
from autoinstrument.mirror.mapping.names import project_name
from autoinstrument.mirror.parts import Parts
from autoinstrument.mirror.task_project import follow_experiment
from autoinstrument.mlflow_store.link_tags import STATE

ALONE_S = 4.0
"""Seconds after the run's start until another process, a follower, may make its Task (`sync.followed_runs`)."""


class RunTask:
    """The run's Task on the server, which is found or made.

    Attributes:
        is_made: the Task was made here.
    """

    def __init__(
        self,
        context: RunContext,
        parts: Parts,
        *,
        look_first: bool,
        is_settled: bool,
        parent_task: Callable[[], str],
        wait_s: float,
    ) -> None:
        """Begin without a Task; the arguments are those of `RunMirror`."""
        self.is_made = False
        self._context = context
        self._parts = parts
        self._look_first = look_first
        self._is_settled = is_settled
        self._parent_task = parent_task
        self._make_at = time.monotonic() + wait_s
        self._task: Task | None = None
        self._given_up: Task | None = None
        self._must_restart = False
        self._restart_reason = ""
        self._lacks_earlier_data = False
        self._is_in_doubt = False
        """An attempt to make the Task has failed, and the server may still be about to make one."""

    @property
    def task(self) -> Task | None:
        """The Task, None while there is none."""
        return self._task

    @property
    def must_restart(self) -> bool:
        """True if the Task has ended, and its run has not."""
        return self._must_restart

    @property
    def lacks_earlier_data(self) -> bool:
        """True if the run may have data from before this process that only MLflow's store has."""
        return self._lacks_earlier_data

    def note_store_read(self) -> None:
        """Note that everything was read from MLflow's store."""
        self._lacks_earlier_data = False

    def ensure(self) -> Task | None:
        """Return the Task, found, made or set running now; None while another process is about to make it.

        Raises:
            ClearMLError: the server did not answer.
        """
        if self._task is None:
            self._find_or_make()
        task = self._task
        if task is not None and self._must_restart:
            if not task.adopted:
                task = self._task = self._started_again(task)
            self._must_restart = False
            self._link(self.place(task))
        return self._task

    def restart(self, reason: str = "") -> None:
        """Set the Task running again, for a reason that the Task then shows."""
        self._must_restart, self._restart_reason = True, reason

    def close(self) -> None:
        """Let each part do what must come last, such as ending the Task.

        Raises:
            ClearMLError: the server did not take it; it is tried again.
        """
        if self._task is not None and self._context.journal.end and self._task.status == "in_progress":
            self._link(self.place(self._task))  # the parent's Task may be younger than this one
            if self._is_in_doubt:
                self._delete_others(self._task)
        for part in self._parts:
            if self._task is not None:
                closed = self._parts.attempt(part, functools.partial(part.close, self._task))
                self._task = closed or self._task

    def lose(self) -> None:
        """Note that the Task was deleted, and a new one must be made."""
        self._task, self._look_first = None, False
        self._context.journal.task_id = ""
        self._start_over()

    def adopt(self, task_id: str) -> None:
        """Go on with a Task that the script made itself; the one that was made for it is deleted by `ensure`."""
        old, self._task = self._task, None
        self._context.journal.task_id, self._context.journal.adopted = task_id, True
        self._lacks_earlier_data = True  # it went to the other Task, or was lost while `Task.init` was at work
        if old is not None and not old.adopted and old.id != task_id:
            self._given_up = old
            self._start_over()

    def new_body(self) -> dict[str, Any]:
        """Return the body of `tasks.create` for a new Task, without its project."""
        body: dict[str, Any] = {}
        for part in self._parts:
            _merge(body, self._parts.attempt(part, part.initial) or {})
        _merge(body, self._context.hyperparameters.initial())
        return body

    def place(self, task: Task) -> Task:
        """Put a Task where it belongs by now; return it as it is then.

        That is below its parent's Task, which another process or `sync` may have made later, and in the project of its
        experiment, which may have been renamed.

        Raises:
            ClearMLError: the server did not answer.
        """
        task = follow_experiment(self._context, task)
        if task.adopted or task.parent or not (parent := self._parent_task()):
            return task
        tasks = self._context.tasks
        self._context.rejections.send_each(
            lambda some: tasks.edit(task, parent=some[0]), [parent], lambda _: "the parent"
        )
        return task._replace(parent=parent)

    def _find_or_make(self) -> None:
        """Find the run's Task or make one; a Task that was made but not started is found again, not made twice."""
        journal, tasks = self._context.journal, self._context.tasks
        if self._given_up is not None:
            with contextlib.suppress(RefusedError):  # it was deleted
                tasks.delete(self._given_up)
            self._given_up = None
        if journal.task_id and self._find(journal.task_id):
            return
        is_looked_for = self._look_first or self._is_late
        if is_looked_for and (task_id := tasks.of_run(self._context.run.run_id)) and self._find(task_id):
            return
        if time.monotonic() >= self._make_at:
            self._make()

    @property
    def _is_late(self) -> bool:
        """True if another process may have made the Task: a follower, or one that was not cut off from the server."""
        return not self._is_settled and time.time() - self._context.run.start_time_ms / 1000 > ALONE_S

    def _make(self) -> None:
        journal, run, tasks = self._context.journal, self._context.run, self._context.tasks
        body = self.new_body()
        parent = self._parent_task()
        if parent:
            body["parent"] = parent
        body.update(tasks.configured_fields())
        self._look_first = True  # a request that seems to fail may have made one
        project = project_name(self._context.settings, run, journal.process)
        is_bare = False
        try:
            task = self._create(project, body)
        except (RefusedError, InternalError) as error:
            logger().warning("run %s: its Task is refused, and made piece by piece: %s", run.run_id, error)
            body, is_bare = _bare(body), True
            task = tasks.create(project, body)
        if task is None:
            return
        self._context.hyperparameters.created(body)
        self._parts.each(lambda part: part.created(bare=is_bare))
        journal.task_id = task.id  # from here on a failure must not make a second one
        if self._is_settled or not run.owned or self._is_late:  # another process may be making it, too
            first = tasks.of_run(run.run_id)
            if first and first != task.id:  # another process was quicker
                tasks.delete(task)
                self._find(first)
                return
        tasks.start(task)
        self._link(task._replace(parent=parent, experiment=run.experiment_name))
        self.is_made = True
        self._lacks_earlier_data = self._lacks_earlier_data or run.resumed

    def _create(self, project: str, body: dict[str, Any]) -> Task | None:
        """Create a Task; return None if one was found that an attempt has made although it seemed to fail.

        Raises:
            ClearMLError: the last attempt did not succeed, and has made none.
        """
        tasks = self._context.tasks
        for attempts_left in reversed(range(ATTEMPTS)):
            try:
                return tasks.create(project, body)
            except UnavailableError as error:
                self._is_in_doubt = True
                is_tried_again = isinstance(error, (HiccupError, InternalError))
                if not is_tried_again or (isinstance(error, HiccupError) and error.retry_after_s > PATIENCE_S):
                    raise
                time.sleep(error.retry_after_s)
                if self._was_made():
                    return None
                if not attempts_left:
                    raise
        return None

    def _delete_others(self, task: Task) -> None:
        """Delete Tasks of the run that were never started: the server has made them after an attempt seemed to fail."""
        tasks, run_id = self._context.tasks, self._context.run.run_id
        for other in tasks.of_runs([run_id]).get(run_id, []):
            is_made_here = DEVELOPMENT in (other.get("system_tags") or [])  # not by a person who queues it for the run
            if other["id"] != task.id and other["status"] == "created" and is_made_here:
                tasks.delete(task._replace(id=other["id"]))
        self._is_in_doubt = False

    def _was_made(self) -> bool:
        """Go on with the run's Task if an attempt that seemed to fail has made one.

        Raises:
            UnavailableError: the server does not answer; the run's data is not the cause, so nothing else is tried.
        """
        try:
            task_id = self._context.tasks.of_run(self._context.run.run_id)
            return bool(task_id) and self._find(task_id)
        except (RefusedError, InternalError) as error:
            raise UnavailableError(str(error)) from error

    def _find(self, task_id: str) -> bool:
        """Go on with a Task that exists; return False if it was deleted, or belongs to another run or to a person."""
        journal, run, is_given = self._context.journal, self._context.run, self._context.journal.adopted
        # A Task that the process was just given may still name another run, from before its reset, or its origin's.
        task = self._context.tasks.find(task_id, adopted=is_given, run_id="" if is_given else run.run_id)
        # Each process below an agent would take over the agent's Task, which belongs to the first one's run.
        if task is None or (is_given and task.run_id != run.run_id and is_taken(task_id, task.run_id)):
            journal.task_id, journal.adopted = "", False
            self._start_over()
            return False
        journal.task_id, journal.adopted = task_id, task.adopted
        if run.owned and not (self._is_settled or task.adopted or task.status == "in_progress"):
            task = self._started_again(task)
        self._parts.each(lambda part: part.found(task, is_given=is_given))
        if run.owned and run.resumed and run.tags.get(STATE) != "synced":
            self._lacks_earlier_data = True  # the process that had it before may not have sent everything
        self._link(self.place(task))
        return True

    def _started_again(self, task: Task) -> Task:
        """Set a Task running that has ended."""
        self._context.tasks.start(task, self._restart_reason)
        self._parts.each(lambda part: part.restarted(task))
        return task._replace(status="in_progress")

    def _start_over(self) -> None:
        self._parts.each(lambda part: part.start_over())

    def _link(self, task: Task) -> None:
        self._task = task
        self._context.journal.task_id, self._context.journal.task_url = task.id, task.url


def _merge(body: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add fields to a body; fields that are dictionaries are merged, and lists are joined."""
    for name, value in more.items():
        if isinstance(value, Mapping) and isinstance(body.get(name), dict):
            _merge(body[name], value)
        elif isinstance(value, list) and isinstance(body.get(name), list):
            body[name] = list(dict.fromkeys([*body[name], *value]))
        else:
            body[name] = value


def _bare(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a new Task's body that it cannot do without, and those that lead back to its run."""
    names: Iterable[str] = ("name", "type", "tags", "system_tags", "parent")
    needed = {name: body[name] for name in names if name in body}
    return {**needed, "hyperparams": {PROPERTIES: body["hyperparams"][PROPERTIES]}}
