"""A run that is mirrored while it goes on: when its data may be sent, what its process knows, and when it is done.

A run belongs to one thread at a time: to the worker's loop, or to the thread that delivers it. While it is away, the
loop's changes wait; only `console.write` may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from autoinstrument.clearml_api.backoff import Backoff
from autoinstrument.clearml_api.monitor_settings import MonitorSettings
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.guard import guard
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror.event_batches import EventBatches
from autoinstrument.mirror.kinds.environment import EnvironmentPart
from autoinstrument.mirror.kinds.resource_monitor import ResourceMonitorPart
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.records import ConsoleWritten, RunStarted, TaskFound
from autoinstrument.settings import Settings
from autoinstrument.worker.loan import Loan
from autoinstrument.worker.notices import Notices
from autoinstrument.worker.send_gate import SendGate


class LiveRun(RunMirror):
    """The mirror of a run that a connected process has begun or logs to.

    Attributes:
        notices: the notices that the training process got.
        server: when data of this run may be tried again that the server refuses as a whole.
        gate: what the run waits for before anything of it is sent.
        has_own_monitor: the script's own `Task.init` reports the machine's figures, unless switched off.
    """

    def __init__(
        self,
        journal: RunJournal,
        settings: Settings,
        tasks: Tasks,
        uploads: Uploads,
        *,
        is_capturing: Callable[[], bool] = bool,
        parent_task: Callable[[], str] = str,
        wait_s: float = 0.0,
    ) -> None:
        """Begin a mirror; the arguments are those of `RunMirror`."""
        super().__init__(
            journal, settings, tasks, uploads, is_capturing=is_capturing, parent_task=parent_task, wait_s=wait_s
        )
        self.notices = Notices()
        self.server = Backoff()
        self.gate = SendGate()
        self.has_own_monitor = journal.run.has_own_monitor
        self._loan = Loan()
        self._is_closed = self._is_idle = False

    # Whose it is

    @property
    def is_away(self) -> bool:
        """True while another thread delivers the run."""
        return self._loan.is_out

    def lend(self) -> None:
        """Note that another thread delivers the run from now on."""
        self._loan.begin(super().weight)

    def want(self) -> None:
        """Deliver the run again as soon as it comes home, because it or its process has begun or ended."""
        self._loan.want()

    def come_home(self) -> bool:
        """Make the changes that have waited: the thread that has delivered the run has left it.

        Returns:
            True if the run must be delivered at once; what was logged while it was away may wait.
        """
        is_wanted, any_waited = self._loan.end()
        return is_wanted or (any_waited and self.end is not None)

    def do(self, change: Callable[[], object], weight: int = 0) -> None:
        """Make a change, now or when the run comes home.

        Args:
            change: calls the run's methods, and sends nothing.
            weight: bytes of the data that it carries.
        """
        self._is_idle = False
        self._loan.do(change, weight)

    def write(self, written: ConsoleWritten) -> None:
        """Take console text, also while the run is away: it must be on disk soon."""
        self._is_idle = False
        self.console.write(*written)

    @property
    def weight(self) -> int:
        """About how many bytes wait to be delivered, or to be taken."""
        if self.is_at_rest:
            return 0
        return self._loan.weight if self._loan.is_out else super().weight

    # The Task

    @property
    def is_made(self) -> bool:
        """True if the Task was made here, and not found."""
        return self._task.is_made

    @property
    def is_running(self) -> bool:
        """True while the Task runs, and no other process watches it for aborts."""
        if (task := self.task) is None or (task.adopted and not self.run.is_local_job):
            return False
        return not self._task.must_restart and self.end is None

    def describe_again(self) -> None:
        """Note that the journal has changed (packages, arguments, source) since the Task was made."""
        self._parts.of(EnvironmentPart).describe_again()

    def add_figures(
        self, values: Mapping[str, float], time_ms: int, watched_s: float, settings: MonitorSettings
    ) -> None:
        """Take figures of the machine, see `ResourceMonitorPart.add`."""
        self._parts.of(ResourceMonitorPart).add(values, time_ms, watched_s, settings)

    # When it may be sent

    @property
    def is_at_rest(self) -> bool:
        """True if nothing is left to do for the run, neither here nor in MLflow, until something comes for it."""
        return self._is_idle and self._is_closed and self.is_linked

    def rest(self) -> None:
        """Note that nothing is left to do, if that is so: a process may have thousands of runs that are complete."""
        is_over = self._is_closed and self.is_linked and self.run.owned
        self._is_idle = is_over and not (self.may_send or self.console.has_unfinished_line)

    @property
    def may_send(self) -> bool:
        """See `RunMirror.may_send`."""
        return not self.is_at_rest and super().may_send

    @property
    def is_due(self) -> bool:
        """True while something waits to be delivered that may be sent now, or the run has just become complete."""
        return (self.may_send or (self._is_unclosed and not self.has_work)) and self._is_free and self.server.is_due()

    @property
    def may_share_request(self) -> bool:
        """True if points and console lines wait that may go into one request with other runs'.

        That is so if nothing else waits, or if the run has ended: the rest of it follows then.
        """
        events = self._context.events
        if self.task is None or self._task.must_restart or not events.have_events:
            return False
        others = any(self._parts.states(lambda part: part.has_work and not events.holds_all_of(part)))
        return self.end is not None or not (others or self._context.hyperparameters.has_work)

    @property
    def events(self) -> EventBatches:
        """The run's points, plots and console lines on their way."""
        return self._context.events

    @property
    def is_hopeful(self) -> bool:
        """True while something waits to be delivered that the server may take in some seconds."""
        return (self.has_work or self._is_unclosed) and self._is_free and self.server.has_hope()

    @property
    def _is_free(self) -> bool:
        return self.run.is_described and not self.run.switched_off and self.gate.is_open

    def make_task(self) -> None:
        """Find or make the Task, or set it running again; it gets what is known by now, the rest by `flush`.

        Raises:
            ClearMLError: the server did not answer.
        """
        self.gate.note_sent()
        self._task.ensure()

    def flush_without_end(self) -> None:
        """See `RunMirror.flush_without_end`."""
        self.gate.note_sent()
        super().flush_without_end()

    def ping(self) -> None:
        """Report to the server that the Task is alive, also for followers, see `sync.silent_runs`.

        Raises:
            ClearMLError: it did not answer.
        """
        if self.task is not None:
            self._context.tasks.ping(self.task)
            self.gate.note_sent()

    # When it is done

    @property
    def is_closed(self) -> bool:
        """True if nothing more is tried here for the run; the journal goes when MLflow has the link tags."""
        return self._is_closed

    @property
    def is_complete(self) -> bool:
        """True if the Task has just become complete: the run has ended, and nothing waits."""
        return self._is_unclosed and not (self.is_capturing or self._loan.any_waits or self.has_work)  # in this order

    @property
    def _is_unclosed(self) -> bool:
        """True if the Task has ended, and was not reported as complete yet."""
        return self.task is not None and self.has_ended and not self._is_closed

    def close(self) -> None:
        """Note that nothing more is tried here for the run."""
        self._is_closed = True
        self.free_memory()

    def complete(self) -> None:
        """Note that the Task holds all of the run: the journal goes when MLflow has the link tags."""
        self.close()
        self.journal.delivered = True
        if self.is_linked:
            self.journal.remove()
        else:
            with guard("writing the journal"):
                self.journal.save()

    def leave_to_sync(self) -> None:
        """Note that MLflow's store does not answer: the run is closed, and its journal stays for `sync`."""
        self.close()
        self.note_store_read()

    # When it goes on after all

    def go_on_undelivered(self) -> None:
        """Note that something came after the Task was complete, and cannot be delivered now: it is complete no more.

        The process may be about to write that it was, and the journal must stay then. Nothing happens to other runs.
        """
        if self._is_closed and self.journal.delivered:
            self._is_closed = self.is_tagged = self.journal.delivered = False
            with guard("writing the journal"):
                self.console.keep_again()

    def end_as(self, end: End, *, guessed: bool = False, ended_ms: int = 0) -> None:
        """See `RunMirror.end_as`."""
        self._is_closed = False
        super().end_as(end, guessed=guessed, ended_ms=ended_ms)

    def reopen(self, run: RunStarted) -> None:
        """See `RunMirror.reopen`."""
        self._is_closed = False
        self.has_own_monitor = run.has_own_monitor
        super().reopen(run)

    def note_taken_away(self) -> None:
        """Note that the Task was reset or deleted while its owner died: the run must only be ended in MLflow."""
        self.journal.task_id = self.journal.task_url = ""
        self.journal.delivered = True

    def go_on(self) -> None:
        """Note that the process was taken for dead: the Task was stopped, and the journal removed.

        Nothing follows if the run has ended since ClearML was asked, and the Task with it: nobody would end that again.
        """
        if self.has_ended:
            return
        self._task.restart()
        self.status.doubt()
        self.notices.unlink()  # the run must be called live again, and the journal be written
        with guard("writing the journal"):
            self.console.renew()

    def lost(self) -> None:
        """Note that the Task was deleted, and a new one must be made from MLflow's store."""
        self._task.lose()
        self._is_closed = self.is_tagged = self.journal.delivered = False
        self._is_incomplete = True

    def adopt(self, found: TaskFound) -> None:
        """Go on with a Task that the script made itself, and give up the one that was made for it."""
        self.has_own_monitor = True
        self.change_run(is_local_job=False, made_task=found.made_task)
        if self.journal.task_id != found.task_id or not self.journal.adopted:  # else it is that of the agent, too
            self._task.adopt(found.task_id)
