"""End the runs of a dead process whose Task belongs to a ClearML agent or to the script's own `Task.init`.

The Task's owner sets its status. When a person aborts, resets or deletes the Task, an agent kills all processes below
itself (SIGKILL, clearml-agent 3.0.3). The worker is not below the agent: it alone can end the runs in MLflow then. If
the agent itself was killed, it alone can end the Task, too.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import PurePath
from typing import NamedTuple

import psutil

from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.guard import guard, logger
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.process_identity import is_running
from autoinstrument.worker.live_run import LiveRun

_AGENTS = ("clearml-agent", "clearml_agent")
"""Command and module (`python -m`) of an agent, found among the first words of its command line."""
_PAUSE_S = 1.0
_TAKEN_AWAY = ("created", "queued", "")
"""Statuses of a Task that was reset, perhaps queued again, or deleted: the rest of the run must not be sent to it."""


class ClearMLAgent(NamedTuple):
    """The agent that runs a process."""

    processes: Sequence[psutil.Process]
    """Its daemon and its `execute`, if that is a separate process."""
    program: psutil.Process
    """The Task's program: the process itself, or one that has started it."""

    def is_alive(self) -> bool:
        """Return True if the agent is running: it will end the Task then."""
        return any(map(is_running, self.processes))


def clearml_agent_of(pid: int) -> ClearMLAgent | None:
    """Return the agent above a process; None if there is none, or if it runs outside of the process's container."""
    try:
        process = psutil.Process(pid)
        above = process.parents()
        agents = [number for number, parent in enumerate(above) if _is_agent(parent)]
    except psutil.Error:
        return None
    if not agents:
        return None
    return ClearMLAgent([above[number] for number in agents], above[agents[0] - 1] if agents[0] else process)


class AgentTaskOutcome:
    """Waits until ClearML knows how the Task of a dead process ended, and ends the process's open runs likewise.

    Until then the rest of the Task's own run is not delivered: a Task that was reset must stay empty.
    """

    def __init__(
        self, task_id: str, runs: Sequence[LiveRun], end: End, agent: ClearMLAgent | None, tasks: Tasks
    ) -> None:
        self._task_id, self._runs, self._end, self._agent, self._tasks = task_id, runs, end, agent, tasks
        self._ask_at = 0.0
        self._held = [mirror for mirror in runs if mirror.capture.task_id == task_id]
        for mirror in self._held:
            mirror.hold()

    def is_known(self, *, last: bool) -> bool:
        """Ask ClearML, at most once a second; return True if the outcome is known.

        Args:
            last: take a Task that is still running for ended.

        Raises:
            ClearMLError: the server did not answer.
        """
        if time.monotonic() < self._ask_at and not last:
            return False
        self._ask_at = time.monotonic() + _PAUSE_S
        task = self._tasks.find(self._task_id, adopted=True)
        status = task.status if task is not None else ""
        if task is not None and status == "in_progress" and self._agent is not None:
            if self._agent.is_alive() or is_running(self._agent.program):
                if not last:
                    return False
            else:
                logger().warning("Task %s: its agent was killed", self._task_id)
                self._tasks.finish(task, self._end.status, self._end.reason, self._end.message)
                status = self._end.status
        is_killed = status in ("stopped", "failed", *_TAKEN_AWAY)
        if status in _TAKEN_AWAY:
            for mirror in self._held:  # the run must only be ended in MLflow
                mirror.capture.task_id = mirror.capture.task_url = ""
                mirror.capture.delivered = True
        else:
            self.release()
        for mirror in self._runs:
            mirror.capture.killed = mirror.capture.killed or is_killed
            with guard("writing the capture"):
                mirror.capture.save()
        return True

    def release(self) -> None:
        """Allow the rest of the Task's own run to be delivered."""
        for mirror in self._held:
            mirror.release()


def _is_agent(process: psutil.Process) -> bool:
    try:
        return any(PurePath(word).name in _AGENTS for word in process.cmdline()[:5])
    except psutil.Error:  # a process of another user
        return False
