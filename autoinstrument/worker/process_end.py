"""End the runs of a process when its connection is closed, after MLflow and ClearML were asked if necessary."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from autoinstrument.child_console import marks
from autoinstrument.clearml_api.errors import ClearMLError
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.clone_run.task_description import task_of_agent
from autoinstrument.guard import guard
from autoinstrument.mirror.mapping.run_status import End, of_exit_code
from autoinstrument.mlflow_store.run_reader import open_run
from autoinstrument.records import RunAnnounced, RunStarted
from autoinstrument.transport import exit_status
from autoinstrument.worker.agent_task import AgentTaskOutcome
from autoinstrument.worker.console_router import ConsoleRouter
from autoinstrument.worker.jobs import Aside
from autoinstrument.worker.live_run import LiveRun
from autoinstrument.worker.mlflow_access import MLflowAccess
from autoinstrument.worker.run_registry import RunRegistry
from autoinstrument.worker.scheduler import Scheduler
from autoinstrument.worker.training_process import TrainingProcess


class ProcessEnd:
    """Ends the runs that a process has left open, as far as its end is known."""

    def __init__(
        self,
        folder: Path,
        registry: RunRegistry,
        console: ConsoleRouter,
        tasks: Tasks,
        scheduler: Scheduler,
        mlflow_access: MLflowAccess,
        aside: Aside,
        begin: Callable[[TrainingProcess, RunStarted], None],
    ) -> None:
        """`folder` is shared with the process; `begin` handles a run that was only announced."""
        self._folder, self._registry, self._console, self._begin = folder, registry, console, begin
        self._tasks, self._scheduler, self._mlflow, self._aside = tasks, scheduler, mlflow_access, aside
        self._outcomes: dict[TrainingProcess, AgentTaskOutcome] = {}
        """Of processes that are gone, while it is not known how their Tasks have ended."""

    def begin(self, process: TrainingProcess) -> None:
        """Note that a process has closed its connection; `complete` ends its runs."""
        process.leave()
        self._console.closed(process)
        if process.joined is not None:
            return
        if process.outlives:
            self._console.leave(process)
            for run_id in process.owned:
                self._registry.left(process, run_id)
            return
        if process.runs or process.announced:
            marks.remove(process.pid)
        process.exit.note_code(exit_status.take(self._folder, process.pid))
        for announced in process.announced.values():
            if not announced.owned and (mirror := self._registry.mirrors.get(announced.run_id)):
                mirror.do(mirror.note_incomplete)
        unread = [announced for announced in process.announced.values() if announced.owned]
        process.begin_end(len(unread))
        for announced in unread:
            self._aside(partial(self._read, announced), partial(self._died_at_once, process, announced))

    def exiting(self, process: TrainingProcess) -> None:
        """End the runs that an exiting process leaves as other owners, which are gone, have ended them.

        Now and not when the process is gone: it waits for the delivery, and a container ends with it.
        """
        for mirror in self._registry.open_runs_of(process):
            run_id, latest = mirror.run.run_id, mirror.status.latest
            is_last = self._registry.open[run_id] == [process] and process.exit.leaves_end_to_others(run_id)
            if is_last and latest is not None:
                self._registry.left(process, run_id)
                self._console.run_ended(process, run_id)
                mirror.do(partial(mirror.end_as, latest[1], ended_ms=latest[0]))

    def complete(self, process: TrainingProcess) -> bool:
        """End the runs of a process that is gone, once none of them is away; return True if that was done now."""
        if not process.may_end or any(self._registry.mirrors[run_id].is_away for run_id in process.runs):
            return False
        process.complete_end()
        self._end(process)
        return True

    def _end(self, process: TrainingProcess) -> None:
        self._console.leave(process)
        for mirror in self._registry.left_by(process):
            mirror.leave()
        left_open = list[LiveRun]()
        for run_id in process.owned:
            with guard("ending a run"):
                left_open += self._end_run(process, self._registry.mirrors[run_id])
        self._ask_clearml(process, left_open)
        self._prepare_mlflow(process)
        self.try_once_more(process)

    def _end_run(self, process: TrainingProcess, mirror: LiveRun) -> list[LiveRun]:
        """End a run that a process has owned, unless another owner goes on with it; return it if it was left open."""
        run_id, code = mirror.run.run_id, process.exit.code
        mirror.console.finish()
        was_at_work = self._registry.left(process, run_id)
        if run_id in self._registry.open:
            return []
        left_open = []
        ended = process.exit.at_exit.get(run_id)
        latest = mirror.status.latest if was_at_work and process.exit.leaves_end_to_others(run_id) else None
        # The cause of an end at exit may not have arrived.
        if latest is not None:
            mirror.end_as(latest[1], ended_ms=latest[0])
        elif was_at_work or mirror.end is None:
            # A container lasts no longer than the agent's part in it: there is no time to ask ClearML first.
            died_in_container = bool(process.container_task) and process.exit.exiting is None
            mirror.journal.killed = mirror.journal.killed or bool(process.exit.aborted) or died_in_container
            end, ended_ms = process.exit.reported_end(run_id), process.exit.announced_ms(run_id)
            mirror.end_as(end or process.exit.guessed_end(), guessed=end is None, ended_ms=ended_ms)
            mirror.note_incomplete()  # what the process had not sent yet is read from MLflow
            left_open = [mirror]
        elif code and ended is not None and mirror.end and mirror.end.status == "completed":
            mirror.end_as(of_exit_code(code), ended_ms=ended.end_time_ms)
        mirror.console.finish()  # again, with the traceback of the end that is known now
        return left_open

    def try_once_more(self, process: TrainingProcess) -> None:
        """Shorten the waits for servers that have failed, because a process is going."""
        self._scheduler.try_once_more()
        for run_id in process.runs:
            self._registry.mirrors[run_id].server.try_once_more()

    def _prepare_mlflow(self, process: TrainingProcess) -> None:
        """Load MLflow if the worker will need it for a run of the process."""
        if self._scheduler.has_hope():
            left = [mirror for mirror in self._registry.at_home(process) if mirror.end and not mirror.is_linked]
            for uri in {mirror.run.tracking_uri for mirror in left}:
                self._aside(partial(self._mlflow.prepare, uri), lambda _: None)

    def _ask_clearml(self, process: TrainingProcess, left_open: list[LiveRun]) -> None:
        """Ask ClearML how the process's Task ended, if the worker does not decide that, and it is not known yet."""
        owned = map(self._registry.mirrors.__getitem__, process.owned)
        adopted = [mirror for mirror in owned if mirror.journal.adopted and not mirror.run.switched_off]
        left_open = [mirror for mirror in left_open if not mirror.run.switched_off]
        agent_is_gone = process.agent is not None and not process.agent.is_alive()
        task_id = adopted[-1].journal.task_id if adopted else task_of_agent() if process.agent else ""
        if task_id and (left_open or agent_is_gone):
            end = (adopted or left_open)[-1].end if adopted or left_open else None
            end = end or End("stopped", "the agent that ran the Task was killed", "")
            self._outcomes[process] = AgentTaskOutcome(task_id, left_open, end, process.agent, self._tasks)

    def knows_outcome(self, process: TrainingProcess, *, last: bool) -> bool:
        """Return True if it is known how a process's Task has ended; else ask ClearML, if that is not under way.

        Args:
            process: it is gone.
            last: see `AgentTaskOutcome.ask`.
        """
        outcome = self._outcomes.get(process)
        if outcome is None:
            return True

        def ask() -> str | None:
            with contextlib.suppress(ClearMLError):
                return outcome.ask(last=last)
            return None

        def settle(status: str | None) -> bool:
            if status is not None:
                outcome.settle(status)
                self._outcomes.pop(process, None)
            return status is not None

        if outcome.is_due:
            outcome.begin()
            self._aside(ask, settle)
        return False

    def forget(self, process: TrainingProcess) -> None:
        """Drop what is known of a process that is gone."""
        self._outcomes.pop(process, None)

    def _read(self, announced: RunAnnounced) -> RunStarted | None:
        """Read from MLflow a run that the process could only announce; None if that fails."""
        with guard("finding a run whose process died at once"):
            uri, run_id = announced.tracking_uri, announced.run_id
            run: RunStarted = self._mlflow.ask(uri, lambda: open_run(uri, run_id, workspace=announced.workspace)).run
            return run
        return None

    def _died_at_once(self, process: TrainingProcess, announced: RunAnnounced, run: RunStarted | None) -> None:
        process.note_read()
        if run is None and (known := self._registry.mirrors.get(announced.run_id)):
            run = known.run
        run = run or announced.undescribed()  # it is left to `sync`: no other program knows that its process is gone
        with guard("finding a run whose process died at once"):
            self._begin(process, run._replace(owned=True, switched_off=announced.switched_off))
