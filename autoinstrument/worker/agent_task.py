"""How a process's runs end when it is gone, and its Task is a ClearML agent's or the script's own (`Task.init`).

The Task's owner sets its status. Where somebody aborted, reset or deleted the Task, an agent kills all processes below
itself (SIGKILL, clearml-agent 3.0.3), and nobody is left to end the runs in MLflow but the worker, which is not below
the agent. Where the agent itself was killed, nobody else is left to end the Task.
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
from autoinstrument.worker.live_run import LiveRun

_AGENTS = ("clearml-agent", "clearml_agent")
"""The command, and the module behind `python -m`; they stand among the first words of the agent's command line."""
_PAUSE_S = 1.0
_TAKEN_AWAY = ("created", "queued", "")
"""Statuses of a Task that was reset, maybe queued again, or deleted: what the process has left is not for it."""


class ClearMLAgent(NamedTuple):
    """The agent that runs a process."""

    processes: Sequence[psutil.Process]
    """Its daemon and, where that is a process of its own, its `execute`."""
    program: psutil.Process
    """The Task's program: the process, or one that has started it."""

    def is_alive(self) -> bool:
        """Tell whether the agent will end the Task."""
        return any(map(_is_alive, self.processes))


def clearml_agent_of(pid: int) -> ClearMLAgent | None:
    """Return the agent above a process; None where there is none, or where it is outside of the process's container."""
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
    """What ClearML says of the Task of a process that is gone; its runs that are open in MLflow end likewise.

    The rest of the Task's own run is not delivered before: a Task that was reset is to stay empty.
    """

    def __init__(
        self, task_id: str, runs: Sequence[LiveRun], end: End, agent: ClearMLAgent | None, tasks: Tasks
    ) -> None:
        self._task_id, self._runs, self._end, self._agent, self._tasks = task_id, runs, end, agent, tasks
        self._ask_at = 0.0
        self._held = [mirror for mirror in runs if mirror.capture.task_id == task_id]
        for mirror in self._held:
            mirror.hold()

    def is_given(self, *, last: bool) -> bool:
        """Tell whether no more has to be asked; with `last` the Task's end is not waited for.

        Raises:
            ClearMLError: the server did not answer.
        """
        if time.monotonic() < self._ask_at and not last:
            return False
        self._ask_at = time.monotonic() + _PAUSE_S
        task = self._tasks.find(self._task_id, adopted=True)
        status = task.status if task is not None else ""
        if task is not None and status == "in_progress" and self._agent is not None:
            if self._agent.is_alive() or _is_alive(self._agent.program):
                if not last:
                    return False
            else:
                logger().warning("Task %s: its agent was killed", self._task_id)
                self._tasks.finish(task, self._end.status, self._end.reason, self._end.message)
                status = self._end.status
        is_killed = status in ("stopped", "failed", *_TAKEN_AWAY)
        if status in _TAKEN_AWAY:
            for mirror in self._held:  # all that is left is to end the run
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
        """Let the rest of the Task's own run be delivered."""
        for mirror in self._held:
            mirror.release()


def _is_agent(process: psutil.Process) -> bool:
    try:
        return any(PurePath(word).name in _AGENTS for word in process.cmdline()[:5])
    except psutil.Error:  # somebody else's
        return False


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
