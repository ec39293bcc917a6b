"""The type of a run's Task: `testing` for one that only evaluates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow.tracking import MlflowClient

from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.cli import main
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mlflow_store.run_reader import open_run
from autoinstrument.records import TagsSet
from autoinstrument.settings import Settings
from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import task_of
from tests.unit.conftest import sdk_task
from tests.unit.mirror.runs import PROCESS

MARK = {"mlflow.runType": "genai_evaluate"}
"""MLflow gives this tag to the active run when an evaluation begins."""


@pytest.fixture
def trained(client: MlflowClient) -> str:
    """A run with a model."""
    run_id: str = client.create_run("0").info.run_id
    client.log_text(run_id, "flavors:\n  sklearn: {}\n", "model/MLmodel")
    entry = {"artifact_path": "model", "model_uuid": "a" * 32, "flavors": {"sklearn": {}}, "run_id": run_id}
    client.set_tag(run_id, "mlflow.log-model.history", json.dumps([entry]))
    return run_id


def test_a_run_that_trains_and_evaluates_is_a_training(
    server: ClearMLServer, client: MlflowClient, trained: str
) -> None:
    evaluation: str = client.create_run("0", tags=MARK).info.run_id
    client.set_tag(trained, *next(iter(MARK.items())))
    for run_id in (trained, evaluation):
        client.set_terminated(run_id)
    assert CliRunner().invoke(main, ["sync", "--all"]).exit_code == 0
    types = [str(sdk_task(task_of(server, run_id)["id"]).task_type) for run_id in (trained, evaluation)]
    assert types == ["training", "testing"]


@pytest.mark.parametrize("is_marked_first", [False, True])
def test_the_type_is_set_live_too(
    server: ClearMLServer, client: MlflowClient, trained: str, tmp_path: Path, is_marked_first: bool
) -> None:
    """The Task is made before MLflow marks the run, and the model may be registered in between or later."""
    reader = open_run(client.tracking_uri, trained)
    session = Session()
    mirror = RunMirror(
        RunJournal(tmp_path, reader.run, PROCESS), Settings(), Tasks(session), Uploads(FileUploads(session))
    )
    records = [reader.state("models"), TagsSet(trained, MARK)]
    for record in reversed(records) if is_marked_first else records:
        mirror.take(record)
        mirror.flush()
    assert mirror.task is not None
    assert server.task(mirror.task.id)["type"] == "training"
