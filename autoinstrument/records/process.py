"""Records about the training process, from the process to the worker."""

from __future__ import annotations

from autoinstrument.named_tuple import NamedTuple
from autoinstrument.records.types import CommandLine, Param


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
    """The command line by name as a parser understood it, in one piece as `argv` where no parser was read."""
    files: dict[str, str] = {}  # noqa: RUF012  (never changed)
    """Files of the loaded modules that are the user's own, and not installed, by the modules' names."""
    callers: list[str] = []  # noqa: RUF012
    """Files of the user's own code that made the first run, from the one with MLflow's call outwards."""
    devices: dict[str, str] = {}  # noqa: RUF012
    """The variables that decide which GPUs the process may see; a script may set them itself."""
    command_line: CommandLine | None = None
    """The command line word by word, None where no parser was read."""
    configuration: str = ""
    """The configuration of the Hydra job, as YAML without secrets; "" for none."""
    help_texts: dict[str, str] = {}  # noqa: RUF012
    """Help texts of the parser, by the argument's name."""
    node: int = 0
    """Number of its machine in a distributed training, as the launcher counts; 0 if it sets none."""
    job: dict[str, str] = {}  # noqa: RUF012
    """The cluster's job that the process runs in, by the names of user properties; see `capture.job_scheduler`."""
    name: str = ""
    """Name of its lines in the console of a run that another process has begun, as in "rank 1"."""

    def resumed_by(self, process: ProcessStarted) -> ProcessStarted:
        """Return a run's program in the process that has resumed its run, and runs another program."""
        return self._replace(pid=process.pid, started_ms=process.started_ms, host=process.host, job=process.job)


class ProcessChanged(NamedTuple):
    """Changes in the process since `ProcessStarted`; sent when a run ends."""

    modules: list[str]
    """Modules that were loaded since the last report."""
    arguments: list[Param]
    source: str
    command_line: CommandLine | None = None
    configuration: str = ""
    help_texts: dict[str, str] = {}  # noqa: RUF012


class ProcessExiting(NamedTuple):
    """The interpreter runs its at-exit handlers; the sender waits for `Delivered`."""

    error: str
    """Traceback of the exception that ends the process, "" where none is known."""
    interrupted: bool
    """True where that exception is KeyboardInterrupt."""
    wait_s: float
    """How long the process will wait for `Delivered`."""


class ProcessJoined(NamedTuple):
    """A process has no run: its console belongs to the runs of another process, a parent as a rule or another rank.

    It is the first record over a connection, and only `ConsoleWritten` and `ConsoleDrained` follow.
    """

    pid: int
    parent: int
    """Process id of that other process."""
    name: str
    devices: dict[str, str]
    """These two as in `ProcessStarted`."""


class DeliveryAwaited(NamedTuple):
    """Asks the worker for `RunsDelivered`: the script waits until what it has logged so far is in ClearML."""

    number: int
    """Counts the process's questions."""


class ConsoleDrained(NamedTuple):
    """A relay has sent everything that a process had written to its descriptors by then."""

    pid: int
    """Id of the process."""
    number: int
    """Counts the relay's records of this kind."""


class ConsoleAwaited(NamedTuple):
    """What follows over this connection comes after the text before a `ConsoleDrained` of this or a later number.

    The relay of a process has its own connection, which another thread reads.
    """

    pid: int
    number: int
    """These two as in `ConsoleDrained`."""


class ConsoleWritten(NamedTuple):
    """Text as it was written to one of the process's streams; lines may be cut anywhere."""

    stream: str
    """"stdout" or "stderr"."""
    text: str
    time_ms: int
    process: str = ""
    """Name of the process that wrote it, "" for the one that has begun the run; the worker puts it in."""


ProcessRecord = (
    ProcessStarted
    | ProcessChanged
    | ProcessExiting
    | ProcessJoined
    | DeliveryAwaited
    | ConsoleWritten
    | ConsoleDrained
    | ConsoleAwaited
)
