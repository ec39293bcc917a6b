"""The training process's record of one run."""

from __future__ import annotations

from autoinstrument.records import EventsDropped, Record, RunEnded, RunStarted, TaskFound

_SOURCE, _SOURCE_TYPE = "mlflow.source.name", "mlflow.source.type"


class TrackedRun:
    """A run that this process started, resumed or logged to.

    Attributes:
        run_id: MLflow's id.
        is_open: it has not ended.
        is_owned: this process has begun or resumed it, and ends it.
        is_of_this_program: this process, or the one that it was forked from, has begun it.
        is_left_alone: it has no Task and gets none.
        started: its description; None before the tracking store was asked, and once its Task is complete.
        ended: its end, None while it is open and once its Task is complete.
        name: its name, or its id until it is described.
        page_url: the address of its page in the MLflow UI, "" where it has none.
        tracking_uri: the absolute tracking URI.
        workspace: the workspace in MLflow, "" where none was named when the run began.
        task: id and address of its Task, None while it is not known to have one.
        is_undescribed: it is a run of this process, and the tracking store was not asked about it yet.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.is_open = True
        self.is_owned = self.is_left_alone = self.is_of_this_program = False
        self.started: RunStarted | None = None
        self.ended: RunEnded | None = None
        self.name, self.page_url = run_id, ""
        self.tracking_uri = self.workspace = ""
        self.is_undescribed = False
        self.task: tuple[str, str] | None = None

    def begin(self, tracking_uri: str, workspace: str, *, owned: bool, resumed: bool = False) -> None:
        """Note that the run was created, resumed or first seen; `owned` if this process ends it."""
        self.is_of_this_program = self.is_of_this_program or (owned and not resumed)
        self.is_open, self.is_left_alone = True, False
        self.tracking_uri, self.workspace = tracking_uri, workspace
        self.is_owned = self.is_undescribed = owned

    def with_program(self, started: RunStarted) -> RunStarted:
        """Return what the tracking store says of the run, and with it whose program the run is.

        A run that `MlflowClient` has made names no program, and `mlflow run` makes runs for a program that it starts.
        """
        is_named = bool(started.tags.get(_SOURCE)) and started.tags.get(_SOURCE_TYPE) != "PROJECT"
        return started._replace(begun_elsewhere=is_named and started.resumed and not self.is_of_this_program)

    def describe(self, started: RunStarted) -> None:
        """Note the tracking store's description of the run."""
        self.is_undescribed = False
        self.started, self.ended = started, None
        self.tracking_uri = started.tracking_uri
        self.name, self.page_url = started.run_name, started.run_url

    def link(self, task_id: str, task_url: str) -> None:
        """Note the run's Task."""
        self.task = task_id, task_url

    def leave_alone(self) -> None:
        """Note that the run has no Task and gets none."""
        self.is_undescribed = False
        self.is_open, self.is_left_alone = False, True

    def end(self, ended: RunEnded) -> None:
        """Note that the run has ended."""
        self.is_open, self.ended = False, ended

    def adopt(self, found: TaskFound) -> None:
        """Note that the script's own `Task.init` has made a Task, which this run takes over."""
        self.started = self.started and self.started._replace(
            has_own_monitor=True, is_local_job=False, made_task=found.made_task
        )

    def deliver(self) -> None:
        """Note that the Task holds everything: the next worker need not know the run."""
        self.started = self.ended = None

    def hand_over(self) -> None:
        """Note, in a forked child, that the parent process ends the run."""
        self.is_owned = self.is_undescribed = False
        self.started = self.started and self.started._replace(owned=False)

    @property
    def undelivered_uri(self) -> str:
        """The tracking URI of a run whose Task is not complete, "" for any other."""
        return self.tracking_uri if self.is_undescribed or self.started else ""

    @property
    def artifact_root(self) -> str:
        """The root of the run's artifacts, "" where it is not known."""
        return self.started.artifact_uri if self.started else ""

    def for_next_worker(self) -> list[Record]:
        """Return what the next worker must know of the run.

        It finds the run's Task in its journal; records that the first worker did not handle are read from MLflow.
        """
        if self.started is None:
            return []
        ended = [self.ended] if self.ended else []
        return [self.started._replace(resumed=True), EventsDropped(self.run_id, 0), *ended]
