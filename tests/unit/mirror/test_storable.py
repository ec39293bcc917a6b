"""Values that ClearML's stores cannot hold are replaced or left out; a server that fails refuses nothing."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from autoinstrument.clearml_api import storable
from autoinstrument.clearml_api.errors import RefusedError, UnavailableError
from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.mirror.rejections import REFUSED
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.records import ArtifactLogged, MetricsLogged, ParamsLogged, Record, RunStarted, TagsSet
from autoinstrument.settings import Settings
from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.harness import scalars, section
from tests.unit.mirror.runs import PROCESS

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
RUN = RunStarted("1" * 32, "the run", "0", "exp", "sqlite:////x", "", "", 0, "", {}, False, True, "")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory, in which `new_mirror` keeps its journal."""
    monkeypatch.chdir(tmp_path)


def new_mirror(run: RunStarted = RUN) -> RunMirror:
    session, folder = Session(), Path("captures", "run").absolute()
    return RunMirror(RunJournal(folder, run, PROCESS), Settings(), Tasks(session), Uploads(FileUploads(session)))


def mirrored(server: ClearMLServer, *records: Record, run: RunStarted = RUN) -> dict[str, Any]:
    """Mirror a run with these records, and return its Task."""
    mirror = new_mirror(run)
    for record in records:
        mirror.take(record)
    mirror.end_as(End("completed", "", ""))
    mirror.flush()
    assert not mirror.has_work
    (task,) = server.tasks
    return task


def test_a_task_of_bytes(server: ClearMLServer) -> None:
    """One byte that is not UTF-8 at each place costs nothing, and is found again where it is looked for."""
    run = RUN._replace(run_name="bad\udcff", tags={"tag\udcff": "value\udcff", "mlflow.note.content": "note\udcff"})
    path, content = "folder/raw\udcff.txt", base64.b64encode(b"text").decode()
    records = [
        ParamsLogged(run.run_id, [("p\udcff", "v\udcff\0", "str")]),
        MetricsLogged(run.run_id, [("loss\udcff", 1.0, 1_600_000_000_000, 0)]),
        ArtifactLogged(run.run_id, path, 4, 1_600_000_000_000, content),
    ]
    task = mirrored(server, *records, run=run)
    assert (task["name"], task["comment"], task["status"]) == ("bad\\xff", "note\\xff", "completed")
    assert section(task, "MLflow") == {"p\\xff": "v\\xff\\x00"}
    assert section(task, "MLflow tags") == {"tag\\xff": "value\\xff"}
    assert list(scalars(server, task["id"])) == [("loss\\xff", 0)]
    assert [artifact["key"] for artifact in task["execution"]["artifacts"]] == ["folder/raw\\xff.txt"]
    again = new_mirror(run)
    again.settled, again.journal.task_id = True, task["id"]
    for record in records:
        again.take(record)
    again.flush()
    (same,) = server.tasks
    assert len(same["execution"]["artifacts"]) == 1
    assert section(same, "MLflow") == section(task, "MLflow")


@pytest.mark.parametrize(
    "body",
    [
        {"comment": "a\udcff"},
        {"hyperparams": {"a": {"b\0": {"section": "a", "name": "b", "value": "c"}}}},
        {"runtime": {"a": 2**70}},
        {
            "comment": "x" * 9_000_000,
            "hyperparams": {"a": {"b": {"section": "a", "name": "b", "value": "x" * 8_000_000}}},
        },
    ],
    ids=["surrogate", "NUL in a key", "over 64 bits", "over 16 MB"],
)
def test_values_that_the_database_refuses_are_not_sent_again(
    server: ClearMLServer, monkeypatch: pytest.MonkeyPatch, body: dict[str, Any]
) -> None:
    """The server answers 500 then, as it does when it fails; the request is not repeated."""
    monkeypatch.setattr(storable, "value", lambda given: given)
    session = Session()
    task = session.call("tasks.create", name="one", type="training")["id"]
    server.clear_requests()
    *first, (field, value) = body.items()
    session.call("tasks.edit", task=task, **dict(first))
    with pytest.raises(RefusedError):
        session.call("tasks.edit", task=task, **{field: value})
    assert [request.status for request in server.calls("tasks.edit")] == [200, 500]


def test_more_than_a_task_has_room_for(server: ClearMLServer) -> None:
    """20 MB of parameters: those that fit are there, the others are named, and the Task ends."""
    params = [(f"p{number}", "x" * 6000, "str") for number in range(3400)]
    batches = [ParamsLogged(RUN.run_id, params[at : at + 100]) for at in range(0, len(params), 100)]
    task = mirrored(server, *batches, TagsSet(RUN.run_id, {"last": "tag"}))
    held = section(task, "MLflow")
    assert 1000 < len(held) < 3400
    assert list(held) == [key for key, _, _ in params][: len(held)]
    assert task["status"] == "completed"
    named = task["configuration"][REFUSED]["value"].splitlines()
    assert named[0] == f"'p{len(held)}' of section MLflow: a Task has no room for it"
    assert named[-1] == f"and {3400 - len(held) - 1000} more"


def test_an_internal_error_that_one_item_meets_each_time_costs_that_item(
    server: ClearMLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoinstrument.mirror.rejections._AGAIN_S", (0.01, 0.01))
    for endpoint in ("tasks.create", "tasks.edit_hyper_params", "events.add_batch"):
        server.faults.add(Fault(endpoint, containing="poison", status=500))
    points = [(key, 1.0, 1_600_000_000_000, 0) for key in ("loss", "poison")]
    params = [("a", "1", ""), ("b", "poison", ""), ("c", "2", "")]
    task = mirrored(server, ParamsLogged(RUN.run_id, params), MetricsLogged(RUN.run_id, points))
    assert section(task, "MLflow") == {"a": "1", "c": "2"}
    assert [key for key, _ in scalars(server, task["id"])] == ["loss"]
    assert task["script"] is not None
    assert "'b' of section MLflow" in task["configuration"][REFUSED]["value"]


def test_a_failing_server_refuses_nothing(server: ClearMLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it answers everything with 500, everything waits; then everything is there."""
    monkeypatch.setattr("autoinstrument.mirror.rejections._AGAIN_S", (0.01, 0.01))
    mirror = new_mirror()
    mirror.flush()
    ill = server.faults.add(Fault("*", status=500))
    mirror.take(ParamsLogged(RUN.run_id, [("a", "1", "")]))
    for _ in range(3):
        with pytest.raises(UnavailableError):
            mirror.flush()
    server.faults.remove(ill)
    mirror.flush()
    assert section(server.tasks[0], "MLflow") == {"a": "1"}
    assert REFUSED not in server.tasks[0]["configuration"]
