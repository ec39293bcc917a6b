"""The words that both doors share: what is said of a run, of the process that made it, and of its Task.

Each record is a flat, immutable tuple of JSON values, so that it crosses the socket between the training process and
the worker as it is. Nothing here knows MLflow's or ClearML's classes.

Times are milliseconds since the epoch (`_ms`), as in MLflow and in ClearML's events.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypedDict, get_type_hints

from autoinstrument.json_shape import mismatch

Point = tuple[str, float, int, int]
"""A metric point: key, value, timestamp in ms, step."""

Param = tuple[str, str, str]
"""A parameter: key, value as MLflow stores it, name of the value's Python type or "" where it is not known."""


class ProcessStarted(NamedTuple):
    """Everything about the training process that only the process itself knows; sent once, before any run."""

    pid: int
    started_ms: int
    """A time at which the process was alive: the worker replaces it by the creation time, see `process_identity`."""
    host: str
    user: str
    python: str
    """Version, as in "3.11.7"."""
    executable: str
    cwd: str
    argv: list[str]
    """`sys.argv` of the training process."""
    main_kind: str
    """How the code was started: "script", "module" (`-m`), "command" (`-c`), "notebook" or "interactive"."""
    main_path: str
    """Absolute path of the file that `__main__` was read from, "" where there is none."""
    main_module: str
    """Dotted name after `-m`, "" otherwise."""
    source: str
    """The code itself where no file holds it: a notebook's cells so far, the text after `-c`; "" otherwise."""
    sys_path: list[str]
    modules: list[str]
    """Names of all modules loaded so far."""
    arguments: list[Param]
    """What argparse made of the command line, by name; empty where no parser read `sys.argv`."""
    files: dict[str, str] = {}  # noqa: RUF012  (never changed)
    """Files of the loaded modules that are the user's own, and not installed, by the modules' names."""
    callers: list[str] = []  # noqa: RUF012
    """Files of the user's own code that made the first run, from the one with MLflow's call outwards."""


class ProcessChanged(NamedTuple):
    """What has changed in the process since `ProcessStarted`; sent when a run ends."""

    modules: list[str]
    """Modules that were loaded since the last report."""
    arguments: list[Param]
    source: str


class ProcessExiting(NamedTuple):
    """The interpreter runs its at-exit handlers; the sender waits for `Delivered`."""

    error: str
    """Traceback of the exception that ends the process, "" where there is none known."""
    interrupted: bool
    """True where that exception is KeyboardInterrupt."""
    wait_s: float
    """How long the process will wait for `Delivered`."""


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
    arguments: list[Param] = []  # noqa: RUF012
    """The run's own arguments: those of such a program, or of one job of a Hydra sweep."""

    def program_of(self, process: ProcessStarted) -> ProcessStarted:
        """Return the process with the program and the arguments that this run belongs to."""
        if self.main_kind:
            return process._replace(
                main_kind=self.main_kind,
                main_path=self.main_path,
                main_module=self.main_module,
                arguments=self.arguments,
                source="",
            )
        return process._replace(arguments=self.arguments) if self.arguments else process


class RunAnnounced(NamedTuple):
    """A run exists; said by the thread that made it, before anything else, so that its death cannot hide the run."""

    run_id: str
    tracking_uri: str
    pid: int
    owned: bool
    switched_off: str
    """These as in `RunStarted`."""


class EndAnnounced(NamedTuple):
    """A run has ended; said by the thread that ended it, ahead of what is still to be sent.

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


class Dataset(TypedDict):
    """A data set that a run has used; source, schema and profile are MLflow's own JSON texts."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str
    profile: str
    tags: dict[str, str]
    """Among them the context, `mlflow.data.context`."""


class Version(TypedDict):
    """A version of a registered model."""

    name: str
    version: str
    stage: str
    aliases: list[str]
    tags: dict[str, str]
    description: str


class Model(TypedDict):
    """A model that a run has logged, or of which it is said to be the source."""

    uri: str
    """MLflow's own, as in `models:/m-…` and `runs:/…`: the same at each reading."""
    name: str
    location: str
    """URI of its folder for clients other than MLflow's."""
    revision: str
    """Names the content of its folder: another one after the model was logged anew at the same URI; "" where MLflow has
    not made the folder."""
    flavors: list[str]
    """As its file `MLmodel` says; empty where it has none."""
    tags: dict[str, str]
    versions: list[Version] | None
    """None where the registry was not asked: there is none, or the process has not used it."""


class ModelsLogged(NamedTuple):
    """All models of the run and their versions, as they are now."""

    run_id: str
    models: list[Model]


class InputsLogged(NamedTuple):
    """All data sets of the run, as they are now."""

    run_id: str
    datasets: list[Dataset]


class TracesLogged(NamedTuple):
    """How many traces are linked to the run now."""

    run_id: str
    traces: int
    more: bool
    """True where there are more than were counted."""


class RunDeleted(NamedTuple):
    run_id: str


class RunRestored(NamedTuple):
    run_id: str


class ArtifactLogged(NamedTuple):
    """One file of the run's artifacts was written, or written anew."""

    run_id: str
    path: str
    """Below the artifact root, with slashes."""
    size: int
    """-1 where it is not known: the file is about to be written."""
    time_ms: int
    """When the file was last written, 0 where the store does not tell."""
    content: str | None
    """What of it is worth showing (`excerpts`), in base64; None where that is to be read from the store."""


class RunEnded(NamedTuple):
    run_id: str
    status: str
    """MLflow's word: FINISHED, FAILED or KILLED."""
    end_time_ms: int
    error: str
    """Traceback of the exception that was being handled when the run was ended, "" where there was none."""
    at_exit: bool
    """True where MLflow's at-exit handler ended the run, so that FINISHED does not say that all went well."""


class TaskFound(NamedTuple):
    """The script's own `Task.init` made a Task after the run began: it takes the run over."""

    run_id: str
    task_id: str


class ConsoleWritten(NamedTuple):
    """Text as it was written to one of the process's streams; lines may be cut anywhere."""

    stream: str
    """"stdout" or "stderr"."""
    text: str
    time_ms: int


class EventsDropped(NamedTuple):
    """The buffer was full: what the run lacks is left to `sync`."""

    run_id: str
    events: int


# From the worker back to the training process


class RunLinked(NamedTuple):
    run_id: str
    task_id: str
    task_url: str
    adopted: bool
    delivered: bool
    """The run has ended and its Task holds all of it."""


class RunPending(NamedTuple):
    """No Task could be made: the run is recorded and left to `sync`."""

    run_id: str
    reason: str
    """One line for a person, with the remedy."""


class CodeLacking(NamedTuple):
    """Something of the code that the process runs could not be captured."""

    reason: str
    """One line for a person: what is missing, why, and what to do."""


class RunTagged(NamedTuple):
    """Answer to `RunLinked` of a delivered run: the tags are written. A process on its way out may not get to it."""

    run_id: str


class RunAborted(NamedTuple):
    """The run's Task was stopped in ClearML: the process is about to receive SIGTERM."""

    run_id: str
    reason: str


class AbortLogged(NamedTuple):
    """Answer to `RunAborted`: the process has logged why, and may be ended."""

    run_id: str


class Delivered(NamedTuple):
    """Answer to `ProcessExiting`: nothing is left to send."""


Record = (
    ProcessStarted | ProcessChanged | ProcessExiting | RunAnnounced | RunStarted | EndAnnounced | ParamsLogged
    | MetricsLogged | TagsSet | TagDeleted | RunDeleted | RunRestored | ArtifactLogged | ModelsLogged
    | InputsLogged | TracesLogged | RunEnded | TaskFound | ConsoleWritten | EventsDropped
    | RunTagged | AbortLogged | RunLinked | RunPending | RunAborted | CodeLacking | Delivered
)  # fmt: skip

_TYPES: dict[str, type[Any]] = {kind.__name__: kind for kind in Record.__args__}


def to_json(record: Record) -> list[Any]:
    """Return the record as a JSON value: its name, then its fields in order."""
    return [type(record).__name__, *record]


def from_json(value: Any) -> Record:
    """Return the record that `to_json` gave.

    Raises:
        ValueError: the value is not a record of this version (unknown name, wrong number of fields); fields with a
            default may be missing, as in the captures of an older version.
    """
    try:
        name, *fields = value
        kind = _TYPES[name]
        most = len(kind._fields)
        least = most - len(kind._field_defaults)
        if not least <= len(fields) <= most:
            raise ValueError(f"{name} has {len(fields)} fields, expected {least} to {most}")
        record: Record = kind(*fields)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a record: {str(value)[:100]}") from error
    return record


def has_right_types(record: Record) -> bool:
    """Return True if the fields of a record that was read from a file have the types that the record declares."""
    kinds = get_type_hints(type(record))
    return not any(mismatch(value, kinds[name]) for name, value in record._asdict().items())


def parse(text: bytes | str) -> Any:
    """Return the value of a JSON text that anybody may have written.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
    """
    import json  # this module is loaded in the training process before anything is to be said

    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None
