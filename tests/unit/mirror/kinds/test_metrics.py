"""Curves and single values, read back with the real SDK; live and `sync` agree, and `verify` compares them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror.completion import complete, read_awaited
from autoinstrument.mirror.kinds.metrics import Metrics
from autoinstrument.mirror.kinds.stored_curves import by_curve
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mlflow_store.run_reader import open_run
from autoinstrument.records import MetricsLogged, Point
from autoinstrument.settings import Settings
from autoinstrument.sync.verify import differences
from tests.clearml_server import ClearMLServer
from tests.end_to_end.conftest import database as database
from tests.end_to_end.harness import scalars, single_values, task_of
from tests.unit.conftest import running_server, sdk_task
from tests.unit.mirror.runs import PROCESS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
T = 1_700_000_000_000
POINTS: list[Point] = [
    ("accuracy", 0.9, T, 0),
    ("test/loss", 0.25, T, 70),
    *(("plain", 1.0 / (1 + n), T + n, 0) for n in range(5)),
    *(("late", float(n), T + n, 0) for n in range(4)),
    ("late", 9.0, T + 9, 2),
    ("again", 1.0, T, 5), ("again", 2.0, T + 1, 5),
    ("nan", 1.0, T, 0), ("nan", float("nan"), T + 1, 1),
    ("system/cpu_utilization_percentage", 5.0, T, 0),
]  # fmt: skip
SINGLE = {"accuracy": 0.9, "test/loss": 0.25, "again": 2.0}


@pytest.fixture(scope="module")
def server() -> Iterator[ClearMLServer]:
    with running_server() as running:
        yield running


@pytest.fixture
def run_id(client: MlflowClient) -> str:
    run_id = str(client.create_run("0", run_name="a run").info.run_id)
    log(client, run_id, POINTS)
    client.set_terminated(run_id)
    return run_id


def log(client: MlflowClient, run_id: str, points: list[Point]) -> None:
    client.log_batch(run_id, [Metric(*point) for point in points])


def mirror_of(client: MlflowClient, run_id: str, folder: Path, **settings: str) -> RunMirror:
    run = open_run(client.tracking_uri, run_id).run._replace(owned=True, tags={})
    session = Session()
    return RunMirror(
        RunJournal(folder / "capture", run, PROCESS), replace(Settings(), **settings), Tasks(session),
        Uploads(FileUploads(session)), look_first=True,
    )  # fmt: skip


def live(mirror: RunMirror, points: list[Point]) -> None:
    """Send each point as it comes, and end the run; read from the store what the worker would read."""
    for point in points:
        mirror.take(MetricsLogged(mirror.run.run_id, [point]))
        mirror.flush()
    mirror.end_as(End("completed", "", ""))
    mirror.flush_without_end()
    if mirror.is_incomplete:
        complete(mirror, end=mirror.end)
    else:
        mirror.flush()


def found(client: MlflowClient, run_id: str) -> list[str]:
    stored = open_run(client.tracking_uri, run_id).stored
    return [each.detail for each in differences(stored, Settings(), Tasks(Session())) if each.what == Metrics.name]


@pytest.mark.parametrize("is_live", [True, False])
def test_live_and_sync_make_the_same_curves_and_single_values(
    server: ClearMLServer, client: MlflowClient, run_id: str, tmp_path: Path, is_live: bool
) -> None:
    mirror = mirror_of(client, run_id, tmp_path)
    live(mirror, POINTS) if is_live else complete(mirror, client.tracking_uri)
    assert mirror.task is not None
    assert found(client, run_id) == []
    task = sdk_task(mirror.task.id)
    assert task.get_reported_single_values() == pytest.approx(SINGLE)
    assert task.get_reported_single_value("accuracy") == pytest.approx(0.9)
    curves = task.get_reported_scalars()
    assert curves["plain"]["plain"]["x"] == [0, 1, 2, 3, 4]
    assert curves["plain"]["plain"]["y"] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])
    assert (curves["late"]["late"]["x"], curves["late"]["late"]["y"]) == ([0, 2], [3.0, 9.0])
    assert curves["again"]["again"]["y"] == [2.0]
    text = server.task(mirror.task.id)["configuration"]["MLflow points left out"]["value"]
    listed = [line.split(",")[0] for line in text.splitlines()[1:]]
    assert sorted(listed) == ["again", "late", "late", "late", "nan"]


def test_a_resumed_run_is_numbered_on_and_its_single_value_follows(
    server: ClearMLServer, client: MlflowClient, run_id: str, tmp_path: Path
) -> None:
    live(mirror_of(client, run_id, tmp_path / "1"), POINTS)
    more: list[Point] = [("plain", 7.0, T + 50, 0), ("accuracy", 0.8, T + 50, 0), ("test/loss", 0.5, T + 50, 71)]
    log(client, run_id, more)
    assert len(found(client, run_id)) == 5
    live(mirror_of(client, run_id, tmp_path / "2"), more)
    assert found(client, run_id) == []
    task = task_of(server, run_id)
    held = scalars(server, task["id"])
    assert [held["plain", at][0] for at in range(6)] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 7])
    assert [held["accuracy", at][0] for at in range(2)] == [0.9, 0.8]
    assert single_values(server, task["id"]) == {**SINGLE, "accuracy": 0.8, "test/loss": 0.5}


def test_curves_titled_by_name_stay_so_in_other_environments(
    server: ClearMLServer, client: MlflowClient, run_id: str, tmp_path: Path
) -> None:
    live(mirror_of(client, run_id, tmp_path / "1", scalars="name"), POINTS)
    assert found(client, run_id) == []
    more: list[Point] = [("val_loss", 1.0, T, 1), ("val_loss", 2.0, T, 2)]
    log(client, run_id, more)
    live(mirror_of(client, run_id, tmp_path / "2"), more)
    assert found(client, run_id) == []
    curves = server.scalars(task_of(server, run_id)["id"])
    assert [step for step, _, _ in curves["loss"]["test"]] == [70]
    assert [step for step, _, _ in curves["loss"]["val"]] == [1, 2]


def test_metrics_of_one_curve_are_read_together(client: MlflowClient, run_id: str) -> None:
    log(client, run_id, [("plain/plain", 1.0, T, 0)])
    groups = by_curve(open_run(client.tracking_uri, run_id).histories(), lambda key: (key.partition("/")[0], ""))
    assert {history.key for history in groups["plain", ""]} == {"plain", "plain/plain"}


@pytest.mark.parametrize("is_first", [True, False], ids=["leaves before the run ends", "leaves later"])
def test_points_of_another_machine_are_complete(
    server: ClearMLServer, client: MlflowClient, tmp_path: Path, is_first: bool
) -> None:
    """Its process does not end the run, and the process that does knows nothing of these points."""
    run_id = str(client.create_run("0", run_name="two machines").info.run_id)
    own = mirror_of(client, run_id, tmp_path / "own")
    own.change_run(resumed=False)
    own.flush()
    other = mirror_of(client, run_id, tmp_path / "other")
    other.change_run(owned=False, resumed=True)
    of_other: list[Point] = [*POINTS, ("shared", 1.0, T + 7, 0), ("shared", 3.0, T + 9, 0)]
    of_own: list[Point] = [("shared", 2.0, T + 8, 0), ("shared", 4.0, T + 10, 0), ("own", 1.0, T, 0)]
    log(client, run_id, [*of_other, *of_own])

    def end_own() -> None:
        client.set_terminated(run_id)
        live(own, of_own)

    def leave() -> None:
        for point in of_other:
            other.take(MetricsLogged(run_id, [point]))
        other.flush()
        other.leave()
        assert other.has_work
        other.flush_without_end()
        if other.awaits_store:
            read_awaited(other, lambda work: work())
        other.flush()
        assert not other.has_work

    for step in (leave, end_own) if is_first else (end_own, leave):
        step()
    assert found(client, run_id) == []
    task = task_of(server, run_id)
    assert task["status"] == "completed"
    assert {*SINGLE, "own"} <= single_values(server, task["id"]).keys()
    held = scalars(server, task["id"])
    assert [held["shared", at][0] for at in range(4)] == [1.0, 2.0, 3.0, 4.0]
