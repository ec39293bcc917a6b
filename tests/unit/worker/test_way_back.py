"""Tags and end of a run whose process is gone: the worker writes them to MLflow, else they are kept for `sync`."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.clone_run.read_task import described
from autoinstrument.journal.run_journal import RunJournal, RunJournals
from autoinstrument.mirror import uploads
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mlflow_store.run_reader import open_run
from autoinstrument.records import ArtifactLogged, Record, RunEnded, RunLinked, RunStarted, RunTagged
from autoinstrument.settings import read_settings
from autoinstrument.transport.protocol import encode, read_all
from autoinstrument.worker import mlflow_access
from autoinstrument.worker.service import Worker
from tests.clearml_server import ClearMLServer
from tests.end_to_end.conftest import database as database
from tests.end_to_end.harness import properties, task_of
from tests.end_to_end.processes import wait_for
from tests.unit.mirror.runs import PROCESS
from tests.unit.sync.test_stored import a_run, autoinstrument
from tests.unit.sync.test_stored import server as server

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

ORIGIN = {
    "clearml.cloned_from": "a" * 32,
    "clearml.cloned_from_run": "b" * 32,
    "clearml.changed": "Args/lr: 0.1 -> 0.2",
}


class Training:
    """A training process as its worker knows it: a connection, and a run of MLflow's store."""

    def __init__(self, client: MlflowClient, folder: Path, run_id: str, uri: str, origin: dict[str, str]) -> None:
        self.run_id = run_id
        self._folder = folder
        run = open_run(client.tracking_uri, run_id).run
        run = run._replace(tracking_uri=uri, resumed=False, owned=True, tags={**run.tags, **origin})
        self._connection, worker_end = socket.socketpair()
        worker = Worker(folder / "worker", read_settings())
        worker.add(worker_end)
        self._worker = threading.Thread(target=worker.run, daemon=True)
        self._worker.start()
        self.send(PROCESS, run)

    def send(self, *records: Record) -> None:
        self._connection.sendall(encode(list(records)))

    def end(self) -> RunLinked:
        """End the run; return the record that the process gets when the Task is complete."""
        self.send(RunEnded(self.run_id, "FINISHED", 1_600_000_000_100, "", False))
        answers = read_all(self._connection)
        return next(record for record in answers if isinstance(record, RunLinked) and record.delivered)

    def die(self) -> None:
        self._connection.close()

    def journals(self) -> list[RunJournal]:
        found: list[RunJournal] = []
        for folder in RunJournals(read_settings()):
            with contextlib.suppress(FileNotFoundError):  # it was removed in this moment
                found.append(RunJournal.load(folder))
        return found

    def worker_ends(self) -> None:
        self._worker.join(120)
        assert not self._worker.is_alive()


@pytest.fixture
def training(server: ClearMLServer, client: MlflowClient, tmp_path: Path) -> Iterator[Callable[..., Training]]:
    made: list[Training] = []

    def new(*, uri: str = "", origin: dict[str, str] = ORIGIN) -> Training:
        run_id = a_run(client, "left")
        made.append(Training(client, tmp_path, run_id, uri or f"{client.tracking_uri}?timeout=0.05", origin))
        return made[-1]

    yield new
    for one in made:
        one.die()


@pytest.fixture
def locked(tmp_path: Path) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """Makes MLflow's database refuse every access for a while."""

    @contextlib.contextmanager
    def lock() -> Iterator[None]:
        with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as database:
            database.execute("BEGIN EXCLUSIVE")
            yield
            database.execute("ROLLBACK")

    return lock


def tags(client: MlflowClient, run_id: str) -> dict[str, str]:
    return {name: tag for name, tag in client.get_run(run_id).data.tags.items() if name.startswith("clearml.")}


def wanted(server: ClearMLServer, run_id: str, linked: RunLinked) -> dict[str, str]:
    """Return the tags that the run must have in the end."""
    assert linked.task_id == task_of(server, run_id)["id"]
    link = {"clearml.task_id": linked.task_id, "clearml.task_url": linked.task_url, "clearml.state": "synced"}
    return link | ORIGIN


def test_the_journal_stays_until_the_process_has_written_the_tags(training: Any) -> None:
    one = training()
    one.end()
    (journal,) = one.journals()
    assert journal.delivered
    one.send(RunTagged(one.run_id))
    wait_for(lambda: not one.journals())


def test_the_worker_tries_again(server: ClearMLServer, client: MlflowClient, training: Any, locked: Any) -> None:
    """The process is gone before it has written the tags, and MLflow does not answer at first."""
    one = training()
    linked = one.end()
    with locked():
        one.die()
        wait_for(lambda: "locked" in one.journals()[0].reason, 30)
    one.worker_ends()
    assert tags(client, one.run_id) == wanted(server, one.run_id, linked)
    assert not one.journals()


def test_sync_writes_the_tags_that_the_worker_could_not_write(
    server: ClearMLServer, client: MlflowClient, training: Any, locked: Any
) -> None:
    """Link and origin stay in the journal; the Task, which is complete, is left as it is."""
    one = training()
    linked = one.end()
    with locked():
        one.die()
        one.worker_ends()
        assert autoinstrument("sync").exit_code == 1
        assert one.journals()
    assert "clearml.task_id" not in tags(client, one.run_id)
    before = task_of(server, one.run_id)
    done = autoinstrument("sync", "--run", one.run_id)
    assert (done.exit_code, "synced" in done.output) == (0, True), done.output
    assert tags(client, one.run_id) == wanted(server, one.run_id, linked)
    assert task_of(server, one.run_id) == before
    assert not one.journals()
    assert "nothing to do" in autoinstrument("sync").output


def test_a_server_that_never_answers_blocks_nothing(training: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker gives up, and everything is kept for `sync`."""
    monkeypatch.setattr(mlflow_access, "LIMIT_S", 0.5)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # else its thread goes on beside the next tests
    with socket.create_server(("127.0.0.1", 0)) as silent:
        one = training(uri=f"http://127.0.0.1:{silent.getsockname()[1]}")
        one.end()
        one.die()
        one.worker_ends()
    (journal,) = one.journals()
    assert journal.delivered
    assert journal.worker_pid == 0
    assert "no answer" in journal.reason


def test_a_store_of_artifacts_that_never_answers_is_asked_once(
    server: ClearMLServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for each file: the run ends, and what could not be read waits for `sync`."""
    monkeypatch.setenv("AUTOINSTRUMENT_HOME", str(tmp_path))
    monkeypatch.setattr(uploads, "_SLOW_S", 0.5)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    asked = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                asked.append(silent.accept())

    with socket.create_server(("127.0.0.1", 0)) as silent:
        threading.Thread(target=accept, daemon=True).start()
        uri, root = f"http://127.0.0.1:{silent.getsockname()[1]}", "mlflow-artifacts:/root"
        run = RunStarted("c" * 32, "slow", "0", "old", uri, "", root, 0, "", {}, False, True, "")
        session = Session()
        journal = RunJournals(read_settings()).of(run, PROCESS)
        mirror = RunMirror(journal, read_settings(), Tasks(session), Uploads(FileUploads(session)))
        for number in range(10):
            mirror.take(ArtifactLogged(run.run_id, f"{number}.txt", 10, 0, None))
        mirror.end_as(End("completed", "", ""))
        mirror.flush()
        silent.shutdown(socket.SHUT_RDWR)
    assert len(asked) == 1
    assert task_of(server, run.run_id)["status"] == "completed"
    assert mirror.has_work
    assert "artifacts cannot be read" in mirror.lacking


def test_a_run_that_was_deleted_permanently_takes_nothing(
    client: MlflowClient, training: Any, database: Path, tmp_path: Path
) -> None:
    """There is nothing to link any more, so nothing stays for `sync` to fail at."""
    one = training()
    one.end()
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as held:
        for table in ("latest_metrics", "metrics", "params", "tags", "runs"):
            held.execute(f"DELETE FROM {table} WHERE run_uuid = ?", [one.run_id])
        held.commit()
    one.die()
    one.worker_ends()
    assert not one.journals()


def test_the_end_of_a_killed_run_is_kept_until_mlflow_takes_it(client: MlflowClient, locked: Any) -> None:
    """Its Task was reset and is another run's: `sync` may make another one, but MLflow calls the run RUNNING."""
    run_id = a_run(client, "killed", status="")
    run = open_run(client.tracking_uri, run_id).run
    journals = RunJournals(read_settings())
    journal = journals.of(run._replace(tracking_uri=f"{client.tracking_uri}?timeout=0.05", owned=True), PROCESS)
    journal.delivered = journal.killed = True
    journal.end = {"status": "stopped", "reason": "", "message": ""}
    journal.save()
    with locked():
        assert autoinstrument("sync").exit_code == 1
    assert client.get_run(run_id).info.status == "RUNNING"
    assert autoinstrument("sync").exit_code == 0
    assert client.get_run(run_id).info.status == "KILLED"
    assert tags(client, run_id) == {"clearml.state": "pending"}
    assert not list(journals)


def test_sync_restores_lost_tags(server: ClearMLServer, client: MlflowClient, training: Any) -> None:
    """Without any journal: a Task knows its run and the run's origin."""
    one = training()
    linked = one.end()
    one.send(RunTagged(one.run_id))  # a lie
    wait_for(lambda: not one.journals())
    assert properties(task_of(server, one.run_id))["mlflow_cloned_from_run"] == ORIGIN["clearml.cloned_from_run"]
    expected = wanted(server, one.run_id, linked)
    for lost in (expected, ["clearml.changed"]):
        for name in lost:
            if name in tags(client, one.run_id):
                client.delete_tag(one.run_id, name)
        found = autoinstrument("verify", one.run_id)
        assert (found.exit_code, "clearml.changed" in found.output) == (1, True), found.output
        assert autoinstrument("sync", "--run", one.run_id).exit_code == 0
        assert tags(client, one.run_id) == expected
        assert autoinstrument("verify", one.run_id).exit_code == 0


def test_a_task_that_is_reset_and_queued_is_not_a_clone(
    server: ClearMLServer, client: MlflowClient, training: Any
) -> None:
    """Its next run does not come from the previous one, as a clone's does; `verify` reports the reset."""
    one = training(origin={})
    task_id = one.end().task_id
    one.die()
    one.worker_ends()
    session = Session()
    clone = session.call("tasks.clone", task=task_id)["id"]
    session.call("tasks.reset", task=task_id, force=True)
    session.call("tasks.enqueue", task=task_id)
    assert described(session, task_id)["lineage"] == {}
    assert described(session, clone)["lineage"] == {
        "clearml.cloned_from_run": one.run_id,
        "clearml.cloned_from": task_id,
        "clearml.changed": "nothing",
    }
    assert f"the Task {task_id} was reset and waits to be run again" in autoinstrument("verify", one.run_id).output
    assert autoinstrument("sync", "--run", one.run_id).exit_code == 0
    assert tags(client, one.run_id)["clearml.task_id"] not in (task_id, clone)
    assert autoinstrument("verify", one.run_id).exit_code == 0
