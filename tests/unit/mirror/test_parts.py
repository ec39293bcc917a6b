"""A kind of data whose code fails on one run is left out of that run, and named; all else is delivered."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from autoinstrument.clearml_api.errors import OwnError
from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.cli import main
from autoinstrument.guard import logger
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror import kinds
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.kind import Difference, Kind, RunPart, StoredData, TaskOfRun
from autoinstrument.mirror.kinds.metrics_part import MetricsPart
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.mirror.parts import is_of_data
from autoinstrument.mirror.rejections import REFUSED
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mlflow_store import runs as store_runs
from autoinstrument.mlflow_store.run_reader import RunReader
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import MetricsLogged, ParamsLogged, RunStarted
from autoinstrument.settings import Settings
from autoinstrument.sync.failures import GivingUp, failed
from autoinstrument.worker.event_round import send_events
from autoinstrument.worker.live_run import LiveRun
from autoinstrument.worker.scheduler import Scheduler
from autoinstrument.worker.training_process import TrainingProcess
from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import scalars, section, task_of
from tests.unit.mirror.runs import PROCESS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
RUN = RunStarted("1" * 32, "the run", "0", "exp", "sqlite:////x", "", "", 0, "", {}, False, True, "")
ERROR = "autoinstrument failed with KeyError in test_parts.py"


class Odd(Kind):
    """A kind that fails in one place, some times; `fails` counts them down."""

    name = "odd"
    task_fields = ("status",)

    def __init__(self, place: str, error: Exception | None = None, times: int = 10**9) -> None:
        self.place, self.error, self.left = place, error or KeyError("odd"), times

    def fail(self, place: str) -> None:
        if place == self.place and self.left > 0:
            self.left -= 1
            raise self.error

    def part(self, context: RunContext) -> RunPart:
        part = OddPart(self)
        context.events.add(part)
        return part

    def read(self, run: RunReader) -> Iterable[StoredData]:
        self.fail("read")
        return ()

    def glance(self, of: TaskOfRun) -> Iterable[Difference]:
        self.fail("glance")
        return ()

    def compare(self, of: TaskOfRun, data: Iterable[StoredData], tasks: Tasks) -> Iterator[Difference]:
        self.fail("compare")
        yield from ()

    def facts(self, run: StoredRun, data: Iterable[StoredData]) -> Iterable[tuple[str, str]]:
        return ()


class OddPart(RunPart):
    """Calls `Odd.fail` with the name of each method."""

    def __init__(self, kind: Odd) -> None:
        self.kind = kind

    @property
    def has_events(self) -> bool:
        self.kind.fail("has_events")
        return False

    @property
    def has_work(self) -> bool:
        self.kind.fail("has_work")
        return False

    @property
    def weight(self) -> int:
        self.kind.fail("weight")
        return 0

    @property
    def is_incomplete(self) -> bool:
        self.kind.fail("is_incomplete")
        return False

    @property
    def awaits_store(self) -> bool:
        self.kind.fail("awaits_store")
        return False

    def next_events(self, task: Any, count: int) -> list[dict[str, Any]]:
        self.kind.fail("next_events")
        return []

    def events_sent(self) -> None:
        self.kind.fail("events_sent")

    def initial(self) -> dict[str, Any]:
        self.kind.fail("initial")
        return {}

    def close(self, task: Any) -> Any:
        self.kind.fail("close")
        return task


def _failing(name: str) -> Callable[..., None]:
    def method(self: OddPart, *arguments: object, **named: object) -> None:
        self.kind.fail(name)

    return method


for _name in ("take", "take_stored", "take_held", "created", "found", "send", "conclude", "end", "reopen", "leave"):
    setattr(OddPart, _name, _failing(_name))


Fails = Callable[..., Odd]


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Fails:
    """Adds a kind that fails at a place."""

    def add(*arguments: Any, **named: Any) -> Odd:
        odd = Odd(*arguments, **named)
        monkeypatch.setattr(kinds, "KINDS", (kinds.KINDS[0], odd, *kinds.KINDS[1:]))
        return odd

    return add


def a_run(folder: Path, number: int = 1) -> LiveRun:
    session = Session()
    run = RUN._replace(run_id=str(number) * 32)
    (folder / "captures").mkdir(mode=0o700, exist_ok=True)
    journal = RunJournal(folder / "captures" / run.run_id, run, PROCESS)
    mirror = LiveRun(journal, Settings(), Tasks(session), Uploads(FileUploads(session)))
    mirror.take(ParamsLogged(run.run_id, [("lr", "0.1", "float")]))
    return mirror


def log(mirror: LiveRun, step: int) -> None:
    mirror.take(MetricsLogged(mirror.run.run_id, [("loss", 0.5, 1_600_000_000_000 + step, step)]))


def left_out(task: dict[str, Any]) -> str:
    return str(task["configuration"].get(REFUSED, {}).get("value", ""))


@pytest.mark.swallows("mirroring a run's odd: KeyError")
@pytest.mark.parametrize("place", ["initial", "created", "next_events", "send", "conclude", "end", "close"])
def test_a_kind_that_fails_is_left_out(
    server: ClearMLServer,
    tmp_path: Path,
    fails: Fails,
    place: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(logger(), "propagate", True)
    fails(place)
    mirror = a_run(tmp_path)
    mirror.flush()
    log(mirror, 1)
    log(mirror, 2)
    mirror.end_as(End("completed", "", ""))
    mirror.flush()
    task = task_of(server, RUN.run_id)
    assert task["status"] == "completed"
    assert section(task, "MLflow") == {"lr": "0.1"}
    assert set(scalars(server, task["id"])) == {("loss", 1), ("loss", 2)}
    assert not mirror.has_work
    assert mirror.left_out == "; left out because autoinstrument failed: odd"
    if place != "close":  # all else is on the Task by then
        assert left_out(task).startswith(f"all data of kind 'odd': {ERROR}")
    warnings = {record.getMessage().partition(" in ")[0] for record in caplog.records}
    assert warnings == {f"run {RUN.run_id}: its data of kind 'odd' is left out: autoinstrument failed with KeyError"}


def test_an_error_that_does_not_come_again_changes_nothing(server: ClearMLServer, tmp_path: Path, fails: Fails) -> None:
    odd = fails("send", RuntimeError("dictionary changed size during iteration"), times=1)
    mirror = a_run(tmp_path)
    mirror.flush()
    assert (odd.left, mirror.left_out, left_out(task_of(server, RUN.run_id))) == (0, "", "")


@pytest.mark.swallows("taking a run's odd: KeyError")
def test_a_record_that_a_kind_cannot_take_is_read_from_the_store_at_the_end(
    server: ClearMLServer, tmp_path: Path, fails: Fails
) -> None:
    fails("take", times=1)
    mirror = a_run(tmp_path)
    assert mirror.is_incomplete
    mirror.flush()
    assert section(task_of(server, RUN.run_id), "MLflow") == {"lr": "0.1"}, "the other kinds have taken it"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError()], ids=["disk", "memory"])
def test_a_machine_without_room_delays_a_run_and_costs_it_nothing(
    server: ClearMLServer, tmp_path: Path, fails: Fails, error: Exception
) -> None:
    odd = fails("send", error, times=2)
    mirror = a_run(tmp_path)
    with pytest.raises(OwnError, match=f"sending the run's odd failed with {type(error).__name__} in test_parts"):
        mirror.flush()
    with pytest.raises(OwnError):
        mirror.flush()
    mirror.flush()
    assert (odd.left, mirror.left_out) == (0, "")


def test_a_needed_kind_is_tried_until_it_succeeds(
    server: ClearMLServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its status, a Task would run for ever."""
    mirror = a_run(tmp_path)
    mirror.flush()
    mirror.end_as(End("completed", "", ""))

    def fail(*arguments: object) -> None:
        raise KeyError("status")

    with monkeypatch.context() as patch:
        patch.setattr(mirror.status, "_finish", fail)
        with pytest.raises(OwnError, match="sending the run's status failed with KeyError"):
            mirror.flush()
    mirror.flush()
    assert task_of(server, RUN.run_id)["status"] == "completed"


@pytest.mark.swallows("mirroring a run's odd: KeyError")
@pytest.mark.parametrize("state", ["has_work", "weight", "is_incomplete", "awaits_store"])
def test_a_kind_that_cannot_say_what_it_has_is_left_out(
    server: ClearMLServer, tmp_path: Path, fails: Fails, state: str
) -> None:
    """The worker's loop asks all runs: an exception there would end the worker, for all processes."""
    odd = fails("")
    mirror = a_run(tmp_path)
    mirror.flush()
    log(mirror, 1)
    odd.place = state
    assert getattr(mirror, state) == {"has_work": True, "weight": 200}.get(state, False)
    assert mirror.left_out == "; left out because autoinstrument failed: odd"
    mirror.flush()
    assert set(scalars(server, task_of(server, RUN.run_id)["id"])) == {("loss", 1)}


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(KeyError("odd"), marks=pytest.mark.swallows("mirroring a run's metric: KeyError"), id="data"),
        pytest.param(MemoryError(), id="machine"),
    ],
)
def test_a_run_whose_points_fail_keeps_no_other_one_waiting(
    server: ClearMLServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    odd, good = (a_run(tmp_path, number) for number in (1, 2))
    for mirror in (odd, good):
        mirror.flush()
        log(mirror, 1)
    next_events = MetricsPart.next_events

    def fail(self: MetricsPart, task: Any, count: int) -> list[dict[str, Any]]:
        if task.id == odd.task.id:  # type: ignore[union-attr]
            raise error
        return next_events(self, task, count)

    monkeypatch.setattr(MetricsPart, "next_events", fail)
    done: dict[str, str] = {}
    send_events(Tasks(Session()), [odd, good], lambda mirror, error: done.update({mirror.run.run_id: str(error)}))
    assert set(scalars(server, task_of(server, good.run.run_id)["id"])) == {("loss", 1)}
    assert done[good.run.run_id] == "None"
    if isinstance(error, KeyError):
        assert (done[odd.run.run_id], odd.left_out[-6:]) == ("None", "metric")
    else:
        assert done[odd.run.run_id].startswith("sending the run's metric failed with MemoryError")


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(KeyError("odd"), marks=pytest.mark.swallows("mirroring a run's metric: KeyError"), id="data"),
        pytest.param(MemoryError(), id="machine"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_run_that_fails_after_a_request_keeps_no_other_one_waiting(
    server: ClearMLServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool, error: Exception
) -> None:
    """Else the same request would be made again at once and for ever, with the console lines of all its runs."""
    odd, good = (a_run(tmp_path, number) for number in (1, 2))
    for mirror in (odd, good):
        mirror.flush()
        log(mirror, 1)
        mirror.console.write("stdout", "once\n", 0)
    events_sent = MetricsPart.events_sent

    def fail(self: MetricsPart) -> None:
        if self._context is odd._context:
            raise error
        events_sent(self)

    monkeypatch.setattr(MetricsPart, "events_sent", fail)
    done: dict[str, str] = {}
    runs = [odd, good] if first else [good, odd]
    send_events(Tasks(Session()), runs, lambda mirror, error: done.update({mirror.run.run_id: str(error)}))
    assert done[good.run.run_id] == "None"
    assert not good.events.have_events
    assert server.console(task_of(server, good.run.run_id)["id"]).splitlines() == ["once"]
    if isinstance(error, KeyError):
        assert (done[odd.run.run_id], odd.left_out[-6:]) == ("None", "metric")
    else:
        assert done[odd.run.run_id].startswith("sending the run's metric failed with MemoryError")


@pytest.mark.swallows("mirroring a run: IndexError")
def test_a_run_that_fails_as_a_whole_is_tried_after_pauses(
    server: ClearMLServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process_end, worker_end = socket.socketpair()
    with process_end, worker_end:
        mirror, home = a_run(tmp_path), TrainingProcess(worker_end)
        scheduler = Scheduler(Tasks(Session()), Uploads(FileUploads(Session())))
        with monkeypatch.context() as patch:
            patch.setattr(mirror._task, "_make", lambda: [][1])
            scheduler.deliver(mirror, home, is_open=True)
            assert not mirror.is_due
            assert scheduler.is_due(), "the other runs go on"
        assert "mirroring the run failed with IndexError" in RunJournal.load(mirror.journal.folder).reason
        mirror.server.try_once_more()
        scheduler.deliver(mirror, home, is_open=True)
    assert mirror.task is not None


# `sync`


def runs_of(client: MlflowClient, count: int = 2) -> list[str]:
    found = []
    for number in range(count):
        run_id = client.create_run("0", run_name=f"run {number}").info.run_id
        client.log_param(run_id, "lr", "0.1")
        client.log_batch(run_id, [Metric("loss", 0.5, 1_600_000_000_000, 1)])
        client.set_terminated(run_id)
        found.append(str(run_id))
    return found


def autoinstrument(*arguments: str) -> Any:
    return json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)


@pytest.mark.swallows("mirroring a run's odd: KeyError")
@pytest.mark.parametrize("place", ["read", "take_stored", "take_held", "send"])
def test_sync_leaves_out_a_kind_that_fails(
    server: ClearMLServer, client: MlflowClient, fails: Fails, place: str
) -> None:
    (run_id,) = runs_of(client, 1)
    fails(place)
    (outcome,) = autoinstrument("sync", "--all")
    assert outcome["result"] == "synced"
    assert outcome["detail"].endswith("; left out because autoinstrument failed: odd")
    task = task_of(server, run_id)
    assert (task["status"], section(task, "MLflow")) == ("completed", {"lr": "0.1"})
    assert left_out(task).startswith(f"all data of kind 'odd': {ERROR}")
    assert client.get_run(run_id).data.tags["clearml.task_id"] == task["id"]


@pytest.mark.swallows("comparing a run's odd: KeyError")
def test_a_run_that_cannot_be_compared_stops_neither_sync_nor_verify(
    server: ClearMLServer, client: MlflowClient, fails: Fails
) -> None:
    run_ids = runs_of(client)
    autoinstrument("sync", "--all")
    odd = fails("glance")
    assert {outcome["result"] for outcome in autoinstrument("sync", "--all")} == {"synced"}
    odd.place = "compare"
    found = autoinstrument("verify")["different"]
    assert {each["run_id"] for each in found} == set(run_ids)
    details = [difference["detail"] for each in found for difference in each["differences"]]
    assert len(details) == len(run_ids)
    assert all(detail.startswith(f"it cannot be compared: {ERROR}") for detail in details)


@pytest.mark.swallows("reading the run")
def test_a_run_that_cannot_be_read_does_not_hide_the_others(
    server: ClearMLServer, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd, good = runs_of(client)
    described = store_runs.describe

    def describe(run: Any, *arguments: Any, **named: Any) -> RunStarted:
        if run.info.run_id == odd:
            raise ValueError("a tag that nobody expects")
        return described(run, *arguments, **named)

    monkeypatch.setattr(store_runs, "describe", describe)
    assert [outcome["run_id"] for outcome in autoinstrument("sync", "--all")] == [good]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyError("a"), True),
        (UnicodeDecodeError("utf-8", b"", 0, 1, "no text"), True),
        (RecursionError(), True),
        (json.JSONDecodeError("a page", "<html>", 0), False),
        (ConnectionError(), False),
        (RuntimeError("the pool is closed"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_of_data_are_told_from_those_of_a_store_that_is_away(error: Exception, expected: bool) -> None:
    assert is_of_data(error) == expected


def test_an_error_of_this_machine_is_no_sign_that_clearml_is_away() -> None:
    """The runs that follow are tried, and a follower's metrics count the error as its own."""
    error, giving_up = OwnError("sending the run's metric", MemoryError()), GivingUp()
    for _ in range(10):
        giving_up.failed(error)
    assert giving_up.reason == ""
    assert failed("1", "run", error).error == "autoinstrument"
