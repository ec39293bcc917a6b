"""Report the worker's answers about runs: as link tags in MLflow, and as lines on stderr."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from types import MappingProxyType

from autoinstrument.agent.run_log import RunLog, TaskLine
from autoinstrument.agent.tracked_run import TrackedRun
from autoinstrument.bootstrap.explain_log import note
from autoinstrument.guard import guard, logger
from autoinstrument.journal.run_journal import RunJournals
from autoinstrument.mlflow_store import store_access
from autoinstrument.mlflow_store.describe import PARENT_RUN
from autoinstrument.mlflow_store.link_tags import (
    LIVE,
    PENDING,
    STATE,
    SYNCED,
    TASK_ID,
    TASK_URL,
    set_killed,
    set_missing_tag,
    set_tags,
)
from autoinstrument.mlflow_store.store_errors import problem_of
from autoinstrument.records import (
    AbortLogged,
    CodeLacking,
    Record,
    RunAborted,
    RunLinked,
    RunPending,
    RunsKilled,
    RunTagged,
    WorkerStopped,
)
from autoinstrument.transport.sender import Sender

_COMPLETE_S = 2.0
"""Seconds that a run which has ended waits for its last link tags before it gets those of a Task in progress."""


class RunReports:
    """Writes the link tags of the process's runs, and logs each report once; for the sender's two threads.

    Args:
        runs: the process's runs by id.
        journals: the journals of recorded runs.
        sender: the way to the worker.
        note: also write the Task's address into the runs' descriptions.

    Attributes:
        is_exiting: the process waits for the worker for the last time.
    """

    def __init__(
        self,
        runs: Mapping[str, TrackedRun],
        journals: RunJournals,
        sender: Sender,
        *,
        note: bool = False,
    ) -> None:
        self._note = note
        self._runs, self._journals, self._sender = runs, journals, sender
        self._log = RunLog()
        self.is_exiting = False
        self._is_over = False
        """The process has waited long enough; tags that are being written may be lost."""
        self._is_stopped = False
        """True once the worker has reported that it was asked to end."""
        self._losses: set[str] = set()
        """Lines about lost workers that were logged."""
        self._lacking: set[str] = set()
        """Lines about missing code that were logged."""

    def take(self, record: Record) -> None:
        """Act on an answer of the worker.

        Raises:
            mlflow.exceptions.MlflowException: the tags cannot be written.
        """
        if isinstance(record, RunLinked):
            self._linked(record)
        elif isinstance(record, RunPending):
            run = self._runs[record.run_id]
            self._log_pending([run], record.reason)
            self._write(run, PENDING)
        elif isinstance(record, RunAborted):
            name = self._runs[record.run_id].name if record.run_id in self._runs else record.run_id
            logger().warning("run %s: %s; this process receives SIGTERM", name, record.reason)
            self._sender.reply(AbortLogged(record.run_id))
        elif isinstance(record, RunsKilled):
            self._killed(record)
        elif isinstance(record, WorkerStopped):
            self._is_stopped = True
        elif isinstance(record, CodeLacking) and record.reason not in self._lacking:
            self._lacking.add(record.reason)
            logger().warning("%s", record.reason)

    def _killed(self, killed: RunsKilled) -> None:
        for run in [self._runs[run_id] for run_id in killed.run_ids if run_id in self._runs]:
            logger().warning("run %s: %s; the ClearML agent ends this container", run.name, killed.reason)
            with guard("ending an aborted run"):
                set_killed(run.tracking_uri, run.workspace, run.run_id)

    def _linked(self, linked: RunLinked) -> None:
        run = self._runs[linked.run_id]
        run.link(linked.task_id, linked.task_url)
        self._log_linked(run, linked)
        if linked.delivered or run.is_open:
            with store_access.store_access(run.tracking_uri, run.workspace):  # before a late write, or instead of it
                if linked.delivered:
                    run.deliver()
                self._write(run, SYNCED if linked.delivered else LIVE, linked.lineage)
        else:  # its Task is complete in a moment, and each write takes 5 ms of the training's CPU time
            self._sender.post_soon(run.run_id, "link", partial(self._write_late, run, linked.lineage), _COMPLETE_S)
        for step in linked.steps:
            set_missing_tag(run.tracking_uri, run.workspace, step, PARENT_RUN, run.run_id)
        if linked.delivered and not self._is_over:  # else the worker writes the tags when the process is gone
            self._sender.reply(RunTagged(run.run_id))

    def _write_late(self, run: TrackedRun, lineage: dict[str, str]) -> None:
        """Write the link of a run that has ended, unless its Task is complete; the worker does it after the process."""
        with store_access.store_access(run.tracking_uri, run.workspace):
            if run.started is not None and not self.is_exiting:
                self._write(run, PENDING if self._log.is_pending(run.run_id) else LIVE, lineage)

    def _write(self, run: TrackedRun, state: str, lineage: Mapping[str, str] = MappingProxyType({})) -> None:
        task_id, task_url = run.task or ("", "")
        link = {TASK_ID: task_id, TASK_URL: task_url}
        tags = {name: value for name, value in link.items() if value} | {STATE: state, **lineage}
        set_tags(run.tracking_uri, run.workspace, run.run_id, tags, note=self._note)

    def _log_linked(self, run: TrackedRun, linked: RunLinked) -> None:
        if linked.delivered and not (run.started and run.started.owned):
            return
        task = linked.task_url or linked.task_id
        if self._log.linked(run.run_id, linked.task_id, TaskLine(run.name, task, run.page_url)):
            note("linked", f"{run.run_id} {task}")

    def has_task(self, run: TrackedRun) -> bool:
        """Return True if the run's Task was logged, and nothing since then."""
        return self._log.has_task(run.run_id)

    def worker_lost(self) -> None:
        """Log that another worker continues, if any run of the lost one has a Task; once a process for each cause."""
        cause = "was stopped by a command; another one continues"
        if not self._is_stopped:
            cause = "has died; another one continues, some console lines may be missing"
        self._is_stopped = False
        note("worker", f"it {cause}")
        has_run = any(run.started and self.has_task(run) for run in list(self._runs.values()))
        if has_run and cause not in self._losses:
            self._losses.add(cause)
            logger().warning("the worker process %s", cause)

    def leave_late(self, late: str, failure: str, *, goes_on: bool) -> list[TrackedRun]:
        """Log which runs were not delivered when the process ends; return those that are pending in MLflow.

        Args:
            late: why they were not.
            failure: why there is no worker, "" where there is one.
            goes_on: the worker continues. When a run that has its Task already is complete, it writes the tags.
        """
        if failure or not goes_on:
            return self.leave_known(failure or late)
        linked = [run for run in self._runs.values() if run.started and self.has_task(run)]
        left = self.leave_known(f"{late}, the worker continues", " if the worker does not")
        return [run for run in left if run not in linked]

    def leave_known(self, reason: str, unless: str = "", *, undescribed: bool = True) -> list[TrackedRun]:
        """As `leave`, for all known runs; without `undescribed` not for those that the tracking store may describe."""
        runs = list(self._runs.values())
        return self.leave([run for run in runs if run.started or (run.is_undescribed and undescribed)], reason, unless)

    def leave(self, runs: Iterable[TrackedRun], reason: str, unless: str = "") -> list[TrackedRun]:
        """Log why runs are left to `sync`, one line for each remedy.

        Args:
            runs: those that are left; of these, the ones that were reported before are passed over.
            reason: why.
            unless: what may yet happen instead.

        Returns:
            The runs that were not reported before.
        """
        left = [run for run in runs if not self._log.is_pending(run.run_id)]
        remedies = {run.run_id: self._journals.remedy(run.run_id) for run in left}
        for remedy in dict.fromkeys(remedies.values()):
            self._log_pending([run for run in left if remedies[run.run_id] == remedy], f"{reason}; {remedy}{unless}")
        return left

    def _log_pending(self, runs: list[TrackedRun], reason: str) -> None:
        for run in runs:
            note("pending", f"{run.run_id} {reason}")
        self._log.pending({run.run_id: run.name for run in runs}, reason)

    def tag_pending(self, runs: Iterable[TrackedRun]) -> None:
        """Write in MLflow that runs are left to `sync`; log a store that does not take the tags, and ask it no more."""
        failed: set[str] = set()
        for run in runs:
            uri = run.undelivered_uri  # "" if the worker has delivered it in the meantime
            if uri and uri not in failed:
                try:
                    self._write(run, PENDING)
                except Exception as error:  # MLflow's store raises what its driver raises
                    failed.add(uri)
                    logger().warning("run %s is not tagged as pending in MLflow (%s)", run.name, problem_of(error))

    def summarize(self) -> None:
        """Log the lines that were held back because there were many."""
        self._log.summarize()

    def end(self) -> None:
        """Write nothing to MLflow from now on, because the interpreter is about to end."""
        self._is_over = True
        store_access.close()

    def go_on(self) -> None:
        """Go on for another run that ends after `end`."""
        self._is_over = False
        store_access.reopen()

    def forked(self) -> None:
        """Forget, in a forked child, the lines that were held back: the parent logs them."""
        self._log.drop_summary()
