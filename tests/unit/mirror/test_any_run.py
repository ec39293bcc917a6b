"""Any run that MLflow can hold becomes requests that ClearML takes, and is read back from the Task as it was."""

from __future__ import annotations

import contextlib
import csv
import functools
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from clearml.backend_api.services.v2_23 import events, tasks
from clearml.backend_api.session import datamodel
from hypothesis import HealthCheck, example, given, settings

from autoinstrument.clearml_api import storable
from autoinstrument.clearml_api.errors import UnavailableError
from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Task, Tasks
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror.kinds.name_and_note import NOTE
from autoinstrument.mirror.kinds.tags import TAGS_SECTION
from autoinstrument.mirror.mapping.names import project_name
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.mirror.mapping.scalars import LEFT_OUT, curve, is_storable, scalar
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mlflow_store.metric_history import History
from autoinstrument.records import ArtifactLogged, MetricsLogged, ParamsLogged, Point, Record, RunStarted, TagsSet
from autoinstrument.scrubber import hide_named
from autoinstrument.settings import Settings
from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import scalars, section, single_values
from tests.unit.conftest import running_server
from tests.unit.mirror.runs import PROCESS, runs

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
Run = tuple[RunStarted, list[Record]]


class NotAsked(Tasks):
    """A server that is asked for a Task, and answers nothing."""

    def __init__(self) -> None:
        super().__init__(Session())
        self.body: dict[str, Any] = {}

    def of_run(self, run_id: str) -> str:
        return ""

    def create(self, project: str, body: dict[str, Any]) -> Task:
        self.body = body
        raise UnavailableError("not asked")


def asked_for(journal: RunJournal, records: list[Record]) -> dict[str, Any]:
    """Return the body of the request for a run's Task."""
    server = NotAsked()
    mirror = RunMirror(journal, Settings(), server, Uploads(FileUploads(Session())))
    for record in records:
        mirror.take(record)
    with contextlib.suppress(UnavailableError):
        mirror.flush()
    return server.body


@pytest.fixture(scope="module")
def trusted_schemas() -> Iterator[None]:
    """Let the SDK check requests by its schemas, and not the schemas each time, which takes ten times as long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datamodel._CustomValidator, "check_schema", lambda schema: None)
        yield


@pytest.mark.usefixtures("trusted_schemas")
@settings(deadline=None)
@given(runs())
def test_requests_fit_the_sdks_own_schema(run: Run) -> None:
    started, records = run
    journal = RunJournal(Path("/nowhere"), started, PROCESS)
    journal.freeze = "a==1"
    body = asked_for(journal, records)
    tasks.CreateRequest(project="0" * 32, **body).validate()
    assert len(body["name"]) >= 3
    project = project_name(Settings(), started, PROCESS)
    assert all(len(segment) >= 3 for segment in project.split("/"))
    assert "secret" not in repr(body)
    for record in records:
        for point in record.points if isinstance(record, MetricsLogged) else ():
            event = scalar("0" * 32, point, "prefix")
            if event is not None:
                kept = {key: value for key, value in event.items() if key != "type"}
                events.MetricsScalarEvent(**kept).validate()
                struct.pack("<f", event["value"])
                assert math.isfinite(event["value"])


@pytest.fixture(scope="module")
def server() -> Iterator[ClearMLServer]:
    with running_server() as running:
        yield running


def mirrored(server: ClearMLServer, folder: Path, run: Run, *, live: bool) -> dict[str, Any]:
    """Mirror a run's records, live as they come or at once as `sync` does, and return its Task."""
    started, records = run[0]._replace(run_id=uuid4().hex), run[1]  # an old run's Task is looked for
    session = Session()
    journal = RunJournal(folder / started.run_id, started, PROCESS)
    mirror = RunMirror(journal, Settings(), Tasks(session), Uploads(FileUploads(session)))
    history: dict[str, list[Point]] = {}
    for record in records:
        if isinstance(record, MetricsLogged) and not live:
            for point in record.points:
                history.setdefault(point[0], []).append(point)
            continue
        mirror.take(record)
        if live:
            mirror.flush()
    histories = [
        History(started.run_id, key, functools.partial(iter, [points[at : at + 3] for at in range(0, len(points), 3)]))
        for key, points in history.items()
    ]
    if not live:
        mirror.take_stored(lambda kind: histories if kind.name == "metric" else [])
    mirror.end_as(End("completed", "", ""))
    mirror.flush()
    assert not mirror.is_incomplete
    assert not mirror.has_work
    assert mirror.task is not None
    return server.task(mirror.task.id)


def drawn(records: list[Record]) -> dict[tuple[str, int], Point]:
    """The points that the curves must hold: of each step the latest, as MLflow chooses; without steps, all in order.

    A point that is numbered has its number as step.
    """
    logged = [point for record in records if isinstance(record, MetricsLogged) for point in record.points]
    of_metric: dict[str, list[Point]] = {}
    for point in logged:
        if is_storable(point[1]):
            of_metric.setdefault(point[0], []).append(point)
    held: dict[tuple[str, int], Point] = {}
    for key, points in of_metric.items():
        if not any(step for _, _, _, step in points):
            ordered = sorted({(time_ms, value) for _, value, time_ms, _ in points})
            points = [(key, value, time_ms, at) for at, (time_ms, value) in enumerate(ordered)]
        title, series = curve(key, "prefix")
        name = title if title == series else f"{title}/{series}"
        for point in points:
            before = held.get((name, point[3]))
            if before is None or (point[2], point[1]) > (before[2], before[1]):
                held[name, point[3]] = point
    return held


def singles(records: list[Record], drawn: dict[tuple[str, int], Point]) -> dict[str, float]:
    """The single values of metrics with one point on their curve, unless a later value is not a number."""
    steps: dict[str, set[int]] = {}
    latest: dict[str, tuple[int, int, float]] = {}
    for record in records:
        for key, value, time_ms, step in record.points if isinstance(record, MetricsLogged) else ():
            steps.setdefault(key, set()).update([step] if is_storable(value) else [])
            at = (step, time_ms, value if is_storable(value) else math.inf)
            latest[key] = max(at, latest.get(key, at))
    numbered = {key for key, _, _, step in drawn.values() if steps[key] == {0} and step}
    return {
        storable.name(key): last[2]
        for key, last in latest.items()
        if len(steps[key]) == 1 and key not in numbered and last[2] != math.inf
    }


def numbered(logged: list[Point]) -> set[str]:
    """The metrics without steps."""
    return {point[0] for point in logged} - {key for key, value, _, step in logged if step and is_storable(value)}


def as_stored(values: dict[str, str]) -> dict[str, str]:
    """Return names and values as ClearML can hold them; Hypothesis finds names of secrets, too."""
    return {storable.name(key): storable.text(hide_named(key, value)) for key, value in values.items()}


ODD: Run = (
    RunStarted("1" * 32, "a", "0", "b/c", "sqlite:////x", "", "", 0, "", {}, False, True, ""),
    [
        MetricsLogged("1" * 32, [("loss", 5.0, 1_600_000_000_001, 0), ("loss", 3.0, 1_600_000_000_001, 0)]),
        MetricsLogged("1" * 32, [("loss", float("nan"), 1_600_000_000_002, 0)]),
        MetricsLogged("1" * 32, [("a", 1.0, 1_600_000_000_001, 0), ("a/a", 2.0, 1_600_000_000_001, 0)]),
        MetricsLogged("1" * 32, [("loss", 1.0, 1_600_000_000_000, 0), ("loss", 7.0, 1_600_000_000_009, -3)]),
    ],
)


def logged_twice(*others: Point) -> Run:
    """Return a run that logs the same point twice, which MLflow keeps once, and then other ones."""
    point = ("loss", 5.0, 1_600_000_000_001, 0)
    return ODD[0], [MetricsLogged(ODD[0].run_id, [point, point, *others])]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(run=runs())
@example(run=ODD)
@example(run=logged_twice())
@example(run=logged_twice(("loss", 5.0, 1_600_000_000_001, 1)))
@example(run=logged_twice(("loss", math.inf, 1_600_000_000_001, 0)))
@example(run=logged_twice(("loss", math.nan, 1_600_000_000_001, 0), ("loss", 5.0, 1_600_000_000_002, 0)))
@example(run=logged_twice(("loss", 3.402823567797336e38, 1_600_000_000_000, 0)))  # nearest: the largest 32-bit float
@pytest.mark.parametrize("live", [True, False])
def test_the_task_equals_the_run(
    server: ClearMLServer, tmp_path_factory: pytest.TempPathFactory, live: bool, run: Run
) -> None:
    started, records = run
    task = mirrored(server, tmp_path_factory.mktemp("capture"), run, live=live)
    params = {key: value for record in records if isinstance(record, ParamsLogged) for key, value, _ in record.params}
    assert section(task, "MLflow") == as_stored(params)
    tags = dict(started.tags)
    for record in records:
        tags |= record.tags if isinstance(record, TagsSet) else {}
    shown = {key: value for key, value in tags.items() if key != NOTE and not key.startswith("clearml.")}
    assert section(task, TAGS_SECTION) == as_stored(shown)
    wanted = drawn(records)
    held = scalars(server, task["id"])
    assert {key: time for key, (_, time) in held.items()} == {key: point[2] for key, point in wanted.items()}
    for key, (value, _) in held.items():
        assert value == pytest.approx(wanted[key][1], rel=1e-6, abs=1e-37)
    assert single_values(server, task["id"]) == pytest.approx(singles(records, wanted))
    files = {record.path: record for record in records if isinstance(record, ArtifactLogged)}
    items = [item for item in task["execution"]["artifacts"] if item["display_data"][0][0] == "MLflow path"]
    assert {item["display_data"][0][1]: item["content_size"] for item in items} == {
        storable.name(path): record.size for path, record in files.items()
    }
    assert len({item["key"] for item in items}) == len(files)
    assert "secret" not in repr(task["execution"])
    text = task["configuration"].get(LEFT_OUT, {}).get("value", "")
    listed = {
        (key, int(step), int(time), value) for key, step, time, value, _ in list(csv.reader(text.split("\n")[1:-1]))
    }
    logged = [point for record in records if isinstance(record, MetricsLogged) for point in record.points]
    values = {(key, time, value) for key, value, time, step in wanted.values() if key in numbered(logged)}
    missing = {
        (key, step, time, repr(value))
        for key, value, time, step in logged
        if (key, value, time, step) not in wanted.values() and (key, time, value) not in values
    }
    assert listed == missing
