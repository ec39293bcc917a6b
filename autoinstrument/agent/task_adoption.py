"""Decide which run takes over the process's Task: that of the script's own `Task.init`, or of a ClearML agent."""

from __future__ import annotations

from autoinstrument.clone_run import start as clone_run
from autoinstrument.integrations.clearml_current_task import (
    existing_task_id,
    has_made_task,
    is_initialized,
    is_local_job,
)
from autoinstrument.records import RunStarted, TaskFound


class TaskAdoption:
    """Gives the process's own Task to one top-level run, the first that begins while or before there is one."""

    def __init__(self) -> None:
        self._run_id = ""
        """The run that has taken the Task over, or is going to."""
        self._task_id = ""
        self._is_initialized = False
        """The script's own `Task.init` has made the Task, or taken over that of the agent."""

    @property
    def is_expected(self) -> bool:
        """True while the script may yet call `Task.init`, and a run would take over its Task."""
        return bool(self._run_id) and not self._is_initialized

    def adopt(self, run: RunStarted) -> RunStarted:
        """Return the record of a run that begins, with the id of the Task that it takes over."""
        if run.owned and not run.parent_run_id:
            task_id = existing_task_id()
            if task_id and task_id != self._task_id:
                self._run_id, self._task_id, self._is_initialized = run.run_id, task_id, is_initialized()
                run = run._replace(
                    task_id=task_id,
                    has_own_monitor=self._is_initialized,
                    is_local_job=not self._is_initialized and is_local_job(),
                    made_task=has_made_task(),
                )
            elif not self._run_id:
                self._run_id = run.run_id
        if self._run_id == run.run_id:
            run = run._replace(tags={**run.tags, **clone_run.origin(self._task_id)})
        return run

    def look(self) -> TaskFound | None:
        """Return the Task once, if `Task.init` was called after the first top-level run began."""
        task_id = existing_task_id()
        is_new = task_id != self._task_id or (is_initialized() and not self._is_initialized)
        if not task_id or not is_new or not self._run_id:
            return None
        self._task_id, self._is_initialized = task_id, is_initialized()
        return TaskFound(self._run_id, task_id, has_made_task())
