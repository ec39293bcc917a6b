"""A kind of data that is added to the registry, and nowhere else, is sent, synced, compared and shown."""

from __future__ import annotations

import getpass
import json
import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mlflow.entities import Dataset, DatasetInput, LoggedModelInput, Metric, Param
from mlflow.tracking import MlflowClient

from autoinstrument.check.facts import look
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Task, Tasks
from autoinstrument.cli import main
from autoinstrument.mirror import kinds
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.kind import CapturedKind, Difference, Kind, RunPart, StoredData, TaskOfRun
from autoinstrument.mirror.kinds.task_tags import TaskTags
from autoinstrument.mirror.kinds.traces import Traces
from autoinstrument.mlflow_store.run_reader import RunReader, open_run
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import Record, RunStarted, TagsSet, TracesLogged
from autoinstrument.settings import read_settings
from autoinstrument.transport.protocol import encode
from autoinstrument.worker.service import Worker
from tests.clearml_server import ClearMLServer
from tests.end_to_end.conftest import database as database
from tests.end_to_end.harness import task_of
from tests.unit.mirror.runs import PROCESS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
OBJECT, TAG = "Colour", "colour"


class Colour(Kind):
    """The tag `colour`, as a configuration object of its own."""

    name = "colour"
    task_fields = ("hyperparams",)

    def part(self, context: RunContext) -> RunPart:
        return ColourPart(context)

    def read(self, run: RunReader) -> Iterable[StoredData]:
        value = run.stored.run.tags.get(TAG)
        return [TagsSet(run.run_id, {TAG: value})] if value else []

    def glance(self, of: TaskOfRun) -> Iterable[Difference]:
        value = of.stored.run.tags.get(TAG, "")
        return [Difference(self.name, "no property")] if of.section("properties").get(TAG, "") != value else []

    def compare(self, of: TaskOfRun, data: Iterable[StoredData], tasks: object) -> Iterator[Difference]:
        yield from self.glance(of)
        for record in data:
            if isinstance(record, TagsSet) and of.configuration(OBJECT) != record.tags[TAG]:
                yield Difference(self.name, f"{of.configuration(OBJECT)!r} instead of {record.tags[TAG]!r}")

    def facts(self, run: StoredRun, data: Iterable[StoredData]) -> Iterator[tuple[str, str]]:
        yield from (("colour", record.tags[TAG]) for record in data if isinstance(record, TagsSet))


class ColourPart(RunPart):
    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._waiting = ""

    def take(self, record: Record) -> None:
        if isinstance(record, TagsSet):
            self._waiting = record.tags.get(TAG, self._waiting)

    @property
    def has_work(self) -> bool:
        return bool(self._waiting)

    def send(self, task: Task) -> None:
        if self._waiting:
            tasks, value = self._context.tasks, self._waiting
            tasks.set_configuration(task, [{"name": OBJECT, "value": value, "type": "text"}])
            tasks.set_hyperparameters(task, [{"section": "properties", "name": TAG, "value": value}])
            self._waiting = ""


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "KINDS", (*kinds.KINDS, Colour()))


def a_run(client: MlflowClient, colour: str) -> str:
    run_id = str(client.create_run("0", tags={TAG: colour, "mlflow.user": getpass.getuser()}).info.run_id)
    client.set_terminated(run_id)
    return run_id


def autoinstrument(*arguments: str) -> Any:
    return json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)


def colour_of(server: ClearMLServer, run_id: str) -> str:
    return str(task_of(server, run_id)["configuration"].get(OBJECT, {}).get("value", ""))


@pytest.mark.usefixtures("registered")
def test_a_new_kind_is_sent_live(server: ClearMLServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOINSTRUMENT_HOME", str(tmp_path / "home"))
    run = RunStarted("1" * 32, "live", "0", "exp", "sqlite:////x", "", "", 0, "", {}, False, True, "")
    process_end, worker_end = socket.socketpair()
    worker = Worker(tmp_path, read_settings())
    worker.add(worker_end)
    working = threading.Thread(target=worker.run, daemon=True)
    working.start()
    with process_end:
        process_end.sendall(encode([PROCESS, run, TagsSet(run.run_id, {TAG: "red"})]))
        while not colour_of_any(server):
            assert working.is_alive()
    assert colour_of_any(server) == ["red"]


def colour_of_any(server: ClearMLServer) -> list[str]:
    return [task["configuration"][OBJECT]["value"] for task in server.tasks if OBJECT in task.get("configuration", {})]


def test_a_new_kind_is_synced_from_the_store_and_compared(
    server: ClearMLServer, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Task from before the kind was known differs, and both `sync` and `verify` see that."""
    run_id = a_run(client, "red")
    assert [outcome["result"] for outcome in autoinstrument("sync", "--all")] == ["synced"]
    assert autoinstrument("verify", run_id)["same"] == 1
    monkeypatch.setattr(kinds, "KINDS", (*kinds.KINDS, Colour()))
    (different,) = autoinstrument("verify", run_id)["different"]
    assert [found["what"] for found in different["differences"]] == ["colour", "colour"]
    assert [outcome["result"] for outcome in autoinstrument("sync", "--all")] == ["synced"]
    assert colour_of(server, run_id) == "red"
    assert autoinstrument("verify", run_id)["same"] == 1
    assert [outcome["result"] for outcome in autoinstrument("sync", "--all")] == ["unchanged"]
    task = task_of(server, run_id)
    edited = {**task["configuration"], OBJECT: {"name": OBJECT, "value": "blue"}}
    Session().call("tasks.edit", task=task["id"], configuration=edited, force=True)
    (different,) = autoinstrument("verify", run_id)["different"]
    assert different["differences"] == [{"what": "colour", "detail": "'blue' instead of 'red'"}]
    assert [outcome["result"] for outcome in autoinstrument("sync", "--full", "--run", run_id)] == ["synced"]
    assert colour_of(server, run_id) == "red"


@pytest.mark.usefixtures("registered")
def test_a_new_kind_is_shown_by_check(client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command writes to the store without MLflow, whose import takes seconds."""
    a_run(client, "green")
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    sql = "UPDATE runs SET start_time = ?"
    code = f"""import sqlite3, time
with sqlite3.connect({str(tmp_path / "mlflow.db")!r}) as database:
    database.execute({sql!r}, (int(time.time() * 1000),))
"""
    looked = look([sys.executable, "-I", "-c", code], {}, agent=False, tracking_uri=client.tracking_uri)
    assert looked.problem == ""
    assert looked.facts["MLflow run 1"]["colour"] == "green"


def test_no_kind_is_overlooked(server: ClearMLServer, client: MlflowClient, tmp_path: Path) -> None:
    """The kinds are taken from the code: a kind that is added there without data in this run fails here."""
    experiment = client.create_experiment("exp", artifact_location=str(tmp_path / "artifacts"))
    run_id = str(client.create_run(experiment, run_name="name", tags={"team": "vision"}).info.run_id)
    client.log_batch(run_id, [Metric("loss", 1.0, 1, 0)], [Param("lr", "0.1")])
    client.log_inputs(run_id, [DatasetInput(Dataset("mnist", "1", "local", "{}"))], [LoggedModelInput("m-1")])
    for name, text in (("MLmodel", "flavors:\n  sklearn: {}\n"), ("weights.bin", "1")):
        client.log_text(run_id, text, f"model/{name}")
    model = {"artifact_path": "model", "model_uuid": "1", "flavors": {"sklearn": {}}, "run_id": run_id}
    client.set_tag(run_id, "mlflow.log-model.history", json.dumps([model]))
    client.set_tag(run_id, "mlflow.linkedPrompts", '[{"name": "greet", "version": "1"}]')
    client.set_terminated(run_id)
    client.delete_run(run_id)

    tasks, run = Tasks(Session()), open_run(client.tracking_uri, run_id)
    empty = tasks.get(tasks.create("project", {"name": "other", "type": "training"}).id)
    of = TaskOfRun(run.stored, empty, read_settings({"AUTOINSTRUMENT_TAGS": "{team}"}), str)
    data = {kind: list(kind.read(run)) for kind in kinds.KINDS}
    (traces,) = (kind for kind in kinds.KINDS if isinstance(kind, Traces))
    data[traces] = [TracesLogged(run_id, 1, False)]  # MLflow writes them when it likes
    blind = {type(kind) for kind in kinds.KINDS if not list(kind.compare(of, data[kind], tasks))}
    unseen = {type(kind) for kind in kinds.KINDS if not list(kind.facts(run.stored, data[kind]))}
    captured = {type(kind) for kind in kinds.KINDS if isinstance(kind, CapturedKind)}
    assert blind == captured, "all other data is compared with the Task"
    assert unseen == captured | {TaskTags}, "all other data is compared by the check; its tags and parameters are"


def test_each_kind_implements_the_whole_interface() -> None:
    """A kind that could not be read, compared or shown cannot be made; each has its own place in the list."""
    assert Kind.__abstractmethods__ == {"part", "read", "glance", "facts"}
    assert len({type(kind) for kind in kinds.KINDS}) == len(kinds.KINDS)
