"""A process died right after its run began, and the worker could not ask MLflow about the run: `sync` completes it."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.records import RunAnnounced
from autoinstrument.settings import read_settings
from autoinstrument.transport.protocol import encode
from autoinstrument.worker import process_end
from autoinstrument.worker.service import Worker
from tests.clearml_server import ClearMLServer
from tests.end_to_end.conftest import database as database
from tests.end_to_end.harness import link_tags, section, task_of
from tests.unit.sync.test_stored import a_run, autoinstrument

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

_PID = 2**23
"""Of no process."""


@pytest.fixture
def died_at_once(client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have a worker see the end of a process of which it knows the announcement of a run, while MLflow is away."""
    run_id = a_run(client, "dies", status="")

    def no_answer(*_: object, **__: object) -> None:
        raise MlflowException("API request failed with exception: connection reset")

    ours, theirs = socket.socketpair()
    with monkeypatch.context() as patch, ours:
        patch.setattr(process_end, "open_run", no_answer)
        worker = Worker(tmp_path, read_settings())
        worker.add(theirs)
        ours.sendall(encode([RunAnnounced(run_id, client.tracking_uri, _PID, owned=True, switched_off="")]))
        ours.shutdown(socket.SHUT_RDWR)
        thread = threading.Thread(target=worker.run, daemon=True)
        thread.start()
        thread.join(60)
        assert not thread.is_alive()
    return run_id


@pytest.mark.swallows("finding a run whose process died at once")
@pytest.mark.parametrize("selection", [[], ["--experiment", "old"], ["--run"]], ids=["recorded", "experiment", "run"])
def test_a_run_that_mlflow_could_not_be_asked_about_is_left_to_sync(
    server: ClearMLServer, client: MlflowClient, died_at_once: str, selection: list[str]
) -> None:
    """MLflow calls it RUNNING for ever, and no other program knows that its process is gone."""
    assert server.tasks == []  # neither its name nor its project is known
    journal = RunJournal.load(Path(os.environ["AUTOINSTRUMENT_HOME"]) / "captures" / died_at_once)
    assert (journal.worker_pid, journal.guessed) == (0, True)
    done = autoinstrument("sync", *selection, *([died_at_once] if selection == ["--run"] else []))
    assert done.exit_code == 0, done.output
    assert "left alone" not in done.output
    task = task_of(server, died_at_once)
    assert (task["name"], task["status"]) == ("dies", "stopped")
    assert section(task, "MLflow") == {"lr": "0.1"}
    assert link_tags(client.get_run(died_at_once))["state"] == "synced"
    assert not journal.is_there


@pytest.mark.swallows("finding a run whose process died at once")
def test_it_may_have_ended(server: ClearMLServer, client: MlflowClient, died_at_once: str) -> None:
    """MLflow's word about the end counts, when it answers."""
    client.set_terminated(died_at_once, "FINISHED")
    assert autoinstrument("sync").exit_code == 0
    assert task_of(server, died_at_once)["status"] == "completed"
