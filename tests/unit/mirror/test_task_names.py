"""A Task that a run takes over gets the run's name, unless a user has named it."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.records import RunStarted, TagsSet
from autoinstrument.settings import Settings
from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import properties
from tests.unit.mirror.runs import PROCESS

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")


@pytest.mark.parametrize(
    ("before", "after", "later"),
    [
        ("Clone of first-run-1", "bold-fox-12", "renamed"),  # by the SDK
        ("Clone Of Clone Of first-run-1", "bold-fox-12", "renamed"),  # by the pages
        ("my experiment", "my experiment", "my experiment"),
        ("train: Args/lr=0.1", "train: Args/lr=0.1", "train: Args/lr=0.1"),  # by an optimiser
    ],
)
def test_name_of_an_agents_task(server: ClearMLServer, before: str, after: str, later: str) -> None:
    session = Session()
    task_id = session.call("tasks.create", name=before, type="training")["id"]
    session.call("tasks.started", task=task_id)
    run = RunStarted("1" * 32, "bold-fox-12", "0", "exp", "sqlite:////x", "", "", 0, "", {}, False, True, task_id)
    mirror = RunMirror(
        RunJournal(Path("/nowhere"), run, PROCESS), Settings(), Tasks(session), Uploads(FileUploads(session))
    )
    mirror.flush()
    assert server.task(task_id)["name"] == after
    assert properties(server.task(task_id))["mlflow_run_name"] == "bold-fox-12"
    mirror.take(TagsSet(run.run_id, {"mlflow.runName": "renamed"}))
    mirror.flush()
    assert server.task(task_id)["name"] == later
