"""The interface of one kind of data: how it is read from MLflow, sent to the Task, and compared with it.

A `Kind` is one object for all runs, and has no state. Its `part` is one run's data of that kind on its way to the Task.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from autoinstrument.clearml_api.tasks import Task, Tasks, is_adopted
from autoinstrument.mirror.context import RunContext
from autoinstrument.mlflow_store.metric_history import History
from autoinstrument.mlflow_store.run_reader import RunReader
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.records import Record, Version
from autoinstrument.settings import Settings

StoredData = Record | History
"""Data that was read from MLflow's store: a record as the live feed has them, or a metric's whole history."""

_MOST_NAMES = 10
"""Names that one difference lists."""


class Difference(NamedTuple):
    """One thing that differs between a Task and its run.

    Attributes:
        what: a word for the data, as in "parameter", "metric", "link" or "status".
        detail: one line.
    """

    what: str
    detail: str


class TaskOfRun(NamedTuple):
    """A stored run and its Task, side by side.

    Attributes:
        stored: the run, as a search finds it.
        task: the Task, as the server answers; in a quick comparison only the fields that the kinds ask for.
        settings: the Task's own.
        parent: returns the id of the Task of the run's parent, "" for none.
        versions: returns the versions of registered models that name the run, None if the registry was not asked.
    """

    stored: StoredRun
    task: Mapping[str, Any]
    settings: Settings
    parent: Callable[[], str]
    versions: Callable[[], Sequence[Version] | None] = lambda: None

    @property
    def is_adopted(self) -> bool:
        """True if the user's script or an agent made the Task, see `Task.adopted`."""
        return is_adopted(self.task)

    def section(self, name: str) -> dict[str, str]:
        """Return the hyperparameters of a section, values by name."""
        held = (self.task.get("hyperparams") or {}).get(name) or {}
        return {item: str(fields.get("value", "")) for item, fields in held.items()}

    def configuration(self, name: str) -> str:
        """Return the text of a configuration object, "" for none."""
        return str(((self.task.get("configuration") or {}).get(name) or {}).get("value", ""))


class Delivery(Protocol):
    """The way to the Task, for a part that must send before it has taken everything."""

    @property
    def task(self) -> Task | None:
        """The Task, None while there is none."""

    def flush_without_end(self) -> None:
        """Bring the Task up to what is known, and leave it running.

        Raises:
            ClearMLError: the server did not take everything; what it did not take is kept.
        """


class RunPart:
    """One run's data of one kind on its way to the Task. This one has none; subclasses override what they need.

    Attributes:
        is_needed: a Task is of no use without it, so that it is not left out if its code fails.
    """

    is_needed: ClassVar[bool] = False

    # Data

    def take(self, record: Record) -> None:
        """Remember the content of a record of this run; other kinds' records are ignored."""

    def take_stored(self, data: Iterable[StoredData], delivery: Delivery) -> None:
        """Take all data of this kind, as MLflow's store holds it; the Task may have some of it.

        Raises:
            Exception: the store does not answer; it raises what its driver raises.
            ClearMLError: the server did not take everything.
        """
        for record in data:
            if not isinstance(record, History):
                self.take(record)

    def take_held(self, task: Mapping[str, Any]) -> None:
        """Note what the Task (as a search finds it) holds that the store may have no longer."""

    @property
    def has_work(self) -> bool:
        """True while something waits to be delivered."""
        return False

    @property
    def weight(self) -> int:
        """About how many bytes of memory the waiting data takes."""
        return 0

    @property
    def is_incomplete(self) -> bool:
        """True if something was left out that MLflow's store has."""
        return False

    @property
    def awaits_store(self) -> bool:
        """True if this kind alone must be read from MLflow's store now: the live feed says only that it has changed."""
        return False

    # Delivery

    def initial(self) -> dict[str, Any]:
        """Return the fields of `tasks.create` that a new Task is given; those of all parts are merged."""
        return {}

    def created(self, *, bare: bool) -> None:
        """Note that a Task was made with `initial`; with `bare`, that it was refused, and made without."""

    def found(self, task: Task, *, is_given: bool) -> None:
        """Note that the run goes on with a Task that exists; `is_given`: the process was given it to take over."""

    def restarted(self, task: Task) -> None:
        """Note that the Task, which had ended, was set running again."""

    def send(self, task: Task) -> None:
        """Bring the Task up to what is known.

        Raises:
            FilesUnavailableError: everything was sent except uploads.
            ClearMLError: the server did not take everything; what it did not take is kept.
        """

    def conclude(self, task: Task) -> None:
        """Note that the run has ended and that nothing of it is left out: `send` follows.

        Raises:
            ClearMLError: the server did not answer.
        """

    def close(self, task: Task) -> Task:
        """Do what must come last, after all parts were sent; return the Task as it is then.

        Raises:
            ClearMLError: the server did not take it; it is tried again.
        """
        return task

    # The run's course

    def compare_exactly(self) -> None:
        """Compare also what the Task seems to hold."""

    def start_over(self) -> None:
        """Note that the next Task is another one, and holds nothing."""

    def end(self) -> None:
        """Note that the run has ended."""

    def reopen(self) -> None:
        """Note that the run goes on after it had ended."""

    def leave(self, *, lacks_records: bool) -> None:
        """Note that no process here logs to the run any more, which a process on another machine will end.

        Args:
            lacks_records: records of processes here were dropped, which MLflow's store has.
        """

    def free_memory(self) -> None:
        """Free memory: the run has ended, and nothing more is expected."""

    def note_store_read(self) -> None:
        """Note that everything was read from MLflow's store, or is left to `sync`: nothing counts as left out."""


class Kind(ABC):
    """One kind of data that a run has.

    Attributes:
        name: a word for it, as differences and facts begin with.
        task_fields: the fields of a Task that `glance` looks at.
        is_paged: `read` returns histories of any length. They are taken last, so that the Task can be made with
            everything else.
        is_in_search: a search of runs finds all of it while the run goes on, so that `read` asks the store nothing.
        is_of_files: a list of the run's files shows whether it has changed.
    """

    name: ClassVar[str]
    task_fields: ClassVar[Sequence[str]] = ()
    is_paged: ClassVar[bool] = False
    is_in_search: ClassVar[bool] = False
    is_of_files: ClassVar[bool] = False

    def is_mirrored(self, settings: Settings) -> bool:
        """Return False if the settings leave this kind out."""
        return True

    def may_be_there(self, run: StoredRun) -> bool:
        """Return False if a search of runs shows no sign of this kind at a run that goes on: its end is soon enough."""
        return True

    @abstractmethod
    def part(self, context: RunContext) -> RunPart:
        """Return one run's data of this kind, none of it known yet."""

    @abstractmethod
    def read(self, run: RunReader) -> Iterable[StoredData]:
        """Read this kind's data of a run from MLflow's store.

        Raises:
            Exception: the store does not answer; it raises what its driver raises.
        """

    @abstractmethod
    def glance(self, of: TaskOfRun) -> Iterable[Difference]:
        """Return the differences that one small answer of each server shows: `sync` skips a Task that has none."""

    def compare(self, of: TaskOfRun, data: Iterable[StoredData], tasks: Tasks) -> Iterable[Difference]:
        """Return all differences between a run's `data`, see `read`, and its Task; by default those of `glance`.

        Raises:
            Exception: the store does not answer; it raises what its driver raises.
            ClearMLError: the server does not answer.
        """
        return self.glance(of)

    @abstractmethod
    def facts(self, run: StoredRun, data: Iterable[StoredData]) -> Iterable[tuple[str, str]]:
        """Return name and value of each fact about a run's data that must be the same with the agent and without it."""


class CapturedKind(Kind):
    """Data that MLflow does not hold: the agent captures it, and there is nothing to compare a Task with."""

    is_in_search = True

    def read(self, run: RunReader) -> Iterable[StoredData]:
        """Return nothing."""
        return ()

    def glance(self, of: TaskOfRun) -> Iterable[Difference]:
        """Return nothing."""
        return ()

    def facts(self, run: StoredRun, data: Iterable[StoredData]) -> Iterable[tuple[str, str]]:
        """Return nothing."""
        return ()


def differing(what: str, wanted: Mapping[str, str], held: Mapping[str, str], *, exact: bool) -> Iterator[Difference]:
    """Yield how named values differ; with `exact` there may be no others than the wanted ones."""
    yield from listed(what, "missing", [name for name in wanted if name not in held])
    yield from listed(what, "other", [name for name in wanted if name in held and held[name] != wanted[name]])
    if exact:
        yield from listed(what, "no longer in MLflow", [name for name in held if name not in wanted])


def listed(what: str, how: str, names: Sequence[str]) -> Iterator[Difference]:
    """Yield one difference that lists names, the first ten; nothing for none."""
    if names:
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        yield Difference(what, f"{how}: {', '.join(names[:_MOST_NAMES])}{more}")
