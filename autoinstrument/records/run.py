"""Records about a run, from the training process to the worker."""

from __future__ import annotations

from autoinstrument.named_tuple import NamedTuple
from autoinstrument.records.process import ProcessStarted
from autoinstrument.records.types import (
    CommandLine,
    Dataset,
    InputModel,
    Model,
    ModelPoint,
    Param,
    Point,
    Prompt,
    Trace,
)


class RunStarted(NamedTuple):
    """A run was created, resumed, or first seen in this process."""

    run_id: str
    run_name: str
    experiment_id: str
    experiment_name: str
    tracking_uri: str
    """Resolved tracking URI, as MLflow uses it; credentials are still in it."""
    run_url: str
    """Address of the run's page in the MLflow UI, "" where there is none."""
    artifact_uri: str
    """Root of the run's artifacts; credentials are still in it."""
    start_time_ms: int
    parent_run_id: str
    tags: dict[str, str]
    resumed: bool
    """True where the run existed before this process touched it."""
    owned: bool
    """True where this process started or resumed the run: its death is the run's end."""
    task_id: str
    """The Task to adopt instead of making one, "" for a new one."""
    switched_off: str = ""
    """The setting that keeps ClearML out of this process, see `clearml_switches`; "" where there is none."""
    main_kind: str = ""
    """This and the next two as in `ProcessStarted`, where the process runs several programs one after the other, as
    IPython does with `%run`. "" where the run belongs to the program of the whole process."""
    main_path: str = ""
    main_module: str = ""
    arguments: list[Param] = []  # noqa: RUF012  (never changed)
    """The run's own arguments: those of such a program, or of one job of a Hydra sweep."""
    has_own_monitor: bool = False
    """True where the script's own `Task.init` has made the Task: ClearML's monitor runs, unless the script said no."""
    workspace: str = ""
    """The run's workspace in MLflow, "" where none was named when it began."""
    command_line: CommandLine | None = None
    """That of such a program; the jobs of a sweep have none."""
    configuration: str = ""
    """That of such a program or job."""
    begun_elsewhere: bool = False
    """True where another process has begun the run, and MLflow names its program: that stays the run's program, whoever
    resumes the run."""
    is_local_job: bool = False
    """True where a controller of ClearML's SDK, and no agent, has started the process for the Task to adopt: no
    other program sends its console, or stops it if the Task is stopped."""
    made_task: bool = False
    """True where this process has made the Task to adopt, by `Task.init`: if it dies, no other program ends that."""

    @property
    def is_described(self) -> bool:
        """False for a run of which only the announcement is known, see `RunAnnounced.undescribed`."""
        return bool(self.experiment_id)

    def program_of(self, process: ProcessStarted) -> ProcessStarted:
        """Return the process with the program and the arguments that this run belongs to."""
        if self.main_kind:
            return process._replace(
                main_kind=self.main_kind,
                main_path=self.main_path,
                main_module=self.main_module,
                arguments=self.arguments,
                command_line=self.command_line,
                configuration=self.configuration,
                source="",
            )
        if self.arguments:
            return process._replace(
                arguments=self.arguments, command_line=self.command_line, configuration=self.configuration
            )
        return process


class RunAnnounced(NamedTuple):
    """A run exists; sent by the thread that made it, before anything else, so that its death cannot hide the run."""

    run_id: str
    tracking_uri: str
    pid: int
    owned: bool
    switched_off: str
    workspace: str = ""
    """These as in `RunStarted`."""

    def undescribed(self) -> RunStarted:
        """Return the record of a run that MLflow could not be asked about: `sync` asks again."""
        return RunStarted(
            self.run_id, self.run_id, "", "", self.tracking_uri, "", "", 0, "", {}, resumed=True, owned=self.owned,
            task_id="", switched_off=self.switched_off, workspace=self.workspace,
        )  # fmt: skip


class EndAnnounced(NamedTuple):
    """A run has ended; sent by the thread that ended it, ahead of everything that waits to be sent.

    It counts where the process dies before it has sent `RunEnded`.
    """

    run_id: str
    status: str
    end_time_ms: int
    error: str
    """These as in `RunEnded`, the end of the traceback."""


class ParamsLogged(NamedTuple):
    run_id: str
    params: list[Param]


class MetricsLogged(NamedTuple):
    run_id: str
    points: list[Point]


class TagsSet(NamedTuple):
    run_id: str
    tags: dict[str, str]


class TagDeleted(NamedTuple):
    run_id: str
    key: str


class ModelsLogged(NamedTuple):
    """All models of the run and their versions, as they are now."""

    run_id: str
    models: list[Model]
    has_entities: bool = True
    """False where models of MLflow 3 could not be asked for: a run may have some that are not listed."""
    has_registry: bool = True
    """False where the registry could not be asked for versions."""


class ModelMetricsLogged(NamedTuple):
    """Points of a metric were logged to a model of MLflow 3, by whichever run."""

    run_id: str
    """The run that made the model."""
    points: list[ModelPoint]
    uri: str
    """The model's, as in `Model`."""


class InputsLogged(NamedTuple):
    """All data sets of the run, as they are now."""

    run_id: str
    datasets: list[Dataset]


class PromptsUsed(NamedTuple):
    """Prompts that the run has loaded or registered; there may be others, which other records name."""

    run_id: str
    prompts: list[Prompt]


class ModelsRead(NamedTuple):
    """Models that the run has read; there may be others, which other records name."""

    run_id: str
    models: list[InputModel]


class TracesChanged(NamedTuple):
    """Traces of the run, or their assessments, have changed: they are read from MLflow's store when it has ended."""

    run_id: str


class TracesLogged(NamedTuple):
    """The traces of the run, as they are now."""

    run_id: str
    traces: int
    more: bool
    """True where there are more than were counted."""
    rows: list[Trace] = []  # noqa: RUF012  (never changed)
    """The first of them."""
    totals: dict[str, float] = {}  # noqa: RUF012  (never changed)
    """Of all that were counted: tokens, `cost_usd`, `mean_latency_ms`, `error_rate`; what is not known is left out."""
    assessments: str = ""
    """The store's own count of the assessments; "" where it does not count them."""


class RunDeleted(NamedTuple):
    run_id: str


class RunRestored(NamedTuple):
    run_id: str


class ArtifactLogged(NamedTuple):
    """One file of the run's artifacts was written, or written again."""

    run_id: str
    path: str
    """Below the artifact root, with slashes."""
    size: int
    """In bytes; -1 where it is not known: the file is about to be written."""
    time_ms: int
    """When the file was last written, 0 where the store does not know."""
    content: str | None
    """The part of it that is shown (`previews`), in base64; None where it must be read from the store."""


class RunEnded(NamedTuple):
    run_id: str
    status: str
    """MLflow's word: FINISHED, FAILED or KILLED."""
    end_time_ms: int
    error: str
    """Traceback of the exception that was being handled when the run was ended, "" where there was none."""
    at_exit: bool
    """True where MLflow's at-exit handler ended the run, so that FINISHED does not mean that all went well."""


class TaskFound(NamedTuple):
    """The script's own `Task.init` made a Task after the run began: it takes the run over."""

    run_id: str
    task_id: str
    made_task: bool = False
    """As in `RunStarted`."""


class EventsDropped(NamedTuple):
    """The run lacks data for which there was no room, or which could not be read: it is read from MLflow's store."""

    run_id: str
    events: int
    """Points, parameters and tags; 0 where they were not counted."""


class RunTagged(NamedTuple):
    """Answer to `RunLinked` of a delivered run: the tags are written. A process that exits may not get to it."""

    run_id: str


class AbortLogged(NamedTuple):
    """Answer to `RunAborted`: the process has logged why, and may be ended."""

    run_id: str


RunRecord = (
    RunStarted | RunAnnounced | EndAnnounced
    | ParamsLogged | MetricsLogged | TagsSet | TagDeleted | ModelsLogged | ModelMetricsLogged | InputsLogged
    | PromptsUsed | ModelsRead | TracesChanged | TracesLogged | RunDeleted | RunRestored | ArtifactLogged | RunEnded
    | TaskFound | EventsDropped | RunTagged | AbortLogged
)  # fmt: skip
