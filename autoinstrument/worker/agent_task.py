"""End the runs of a dead process whose Task belongs to a ClearML agent or to the script's own `Task.init`.

The Task's owner sets its status. When a person aborts, resets or deletes the Task, an agent kills all processes below
itself (SIGKILL, clearml-agent 3.0.3). The worker is not below the agent: it alone can end the runs in MLflow then. If
the agent itself was killed, it alone can end the Task, too.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import PurePath

import psutil

from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.guard import guard, logger
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.process_identity import environment_of, is_running
from autoinstrument.worker.live_run import LiveRun

_AGENTS = ("clearml-agent", "clearml_agent")
"""Command and module (`python -m`) of an agent, found among the first words of its command line."""
_FIRST_OF_MACHINES = ("systemd", "init")
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


def task_of_container(pid: int, alive_ms: int, agent: ClearMLAgent | None) -> str:
    """Return the id of the Task of a process in a container whose agent is outside of it; "" for any other process.

    Such an agent has set the variable with the Task's id, and its daemon is not above the process. A pod has the
    agent's `execute` inside, which does not follow the Task.

    Args:
        pid: the process.
        alive_ms: a time at which it was running, in ms since the epoch.
        agent: what `clearml_agent_of` has found.
    """
    variables = environment_of(pid, alive_ms)
    task_id = variables.get("CLEARML_TASK_ID") or variables.get("TRAINS_TASK_ID") or ""
    if not task_id or not _is_in_container():
        return ""
    return "" if agent is not None and any(map(_is_daemon, agent.processes)) else task_id


def _is_in_container() -> bool:
    """Return True if the first process that is visible here is not that of a machine."""
    try:
        return sys.platform == "linux" and psutil.Process(1).name() not in _FIRST_OF_MACHINES
    except psutil.Error:
        return False


class AgentTaskOutcome:
    """Waits until ClearML knows how the Task of a dead process ended, and ends the process's open runs likewise.

    Until then the rest of the Task's own run is not delivered: a Task that was reset must stay empty.
    """

    def __init__(
        self, task_id: str, runs: Sequence[LiveRun], end: End, agent: ClearMLAgent | None, tasks: Tasks
    ) -> None:
        self._task_id, self._runs, self._end, self._agent, self._tasks = task_id, runs, end, agent, tasks
        self._ask_at = 0.0
        self._held = [mirror for mirror in runs if mirror.journal.task_id == task_id]
        for mirror in self._held:
            mirror.gate.hold()

    @property
    def is_due(self) -> bool:
        """True if ClearML may be asked now: once a second, one question at a time."""
        return time.monotonic() >= self._ask_at

    def begin(self) -> None:
        """Note that `ask` is about to be called."""
        self._ask_at = math.inf

    def ask(self, *, last: bool) -> str | None:
        """Ask ClearML; on any thread.

        Args:
            last: take a Task that is still running for ended.

        Returns:
            The Task's status, "" if it was deleted; None if its owner has yet to set it.

        Raises:
            ClearMLError: the server did not answer.
        """
        try:
            return self._ask(last=last)
        finally:
            self._ask_at = time.monotonic() + _PAUSE_S

    def _ask(self, *, last: bool) -> str | None:
        task = self._tasks.find(self._task_id, adopted=True)
        if task is None or task.status != "in_progress" or self._agent is None:
            return task.status if task is not None else ""
        if self._agent.is_alive() or is_running(self._agent.program):
            return task.status if last else None
        logger().warning("Task %s: its agent was killed", self._task_id)
        self._tasks.finish(task, self._end.status, self._end.reason, self._end.message)
        return self._end.status

    def settle(self, status: str) -> None:
        """End the open runs as the Task has ended; on the thread of the worker's loop.

        Args:
            status: see `ask`.
        """
        for mirror in self._runs:
            mirror.do(partial(self._settle, mirror, status))

    def _settle(self, mirror: LiveRun, status: str) -> None:
        if mirror in self._held and status in _TAKEN_AWAY:
            mirror.note_taken_away()
        elif mirror in self._held:
            mirror.gate.release()
        is_killed = status in ("stopped", "failed", *_TAKEN_AWAY)
        mirror.journal.killed = mirror.journal.killed or is_killed
        with guard("writing the journal"):
            mirror.journal.save()


def _is_agent(process: psutil.Process) -> bool:
    try:
        return any(PurePath(word).name in _AGENTS for word in process.cmdline()[:5])
    except psutil.Error:  # a process of another user
        return False


def _is_daemon(process: psutil.Process) -> bool:
    try:
        return "daemon" in process.cmdline()
    except psutil.Error:  # a process of another user
        return False
