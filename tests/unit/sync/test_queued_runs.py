"""`sync` ends runs of MLflow projects that wait for Tasks which will never run them."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from mlflow.tracking import MlflowClient

from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.task import awaiting
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.cli import main
from autoinstrument.mirror.mapping import links
from autoinstrument.mlflow_store.runs import find_run
from autoinstrument.sync.queued_runs import end_of
from tests.clearml_server import ClearMLServer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def queued(client: MlflowClient) -> tuple[str, str]:
    """Return a run that waits for a Task, and the Task's id."""
    session = Session()
    tags = {"mlflow.project.backend": "clearml"}
    run_id = client.create_run("0", tags=tags, run_name="queued").info.run_id
    client.update_run(run_id, status="SCHEDULED")
    tasks = Tasks(session)
    task = tasks.create("project", {"name": "queued", "type": "training", "tags": [links.TAG]})
    tasks.set_hyperparameters(task, links.properties(find_run(run_id).run, task.id))
    tasks.add_runtime(task, awaiting(run_id, "queued"))
    session.call("tasks.enqueue", task=task.id)
    client.set_tag(run_id, "clearml.task_id", task.id)
    return run_id, task.id


@pytest.mark.parametrize(
    ("action", "expected"), [("failed", "FAILED"), ("stopped", "KILLED"), ("reset", "KILLED"), ("", "SCHEDULED")]
)
def test_a_task_that_did_not_run(server: ClearMLServer, client: MlflowClient, action: str, expected: str) -> None:
    """A Task that could not make its environment, was aborted or reset; one that waits for an agent is left alone."""
    run_id, task = queued(client)
    if action:
        Session().call(f"tasks.{action}", task=task, force=True)
    dry = CliRunner().invoke(main, ["sync", "--all", "--dry-run"])
    assert (dry.exit_code, client.get_run(run_id).info.status) == (0, "SCHEDULED"), dry.output
    done = CliRunner().invoke(main, ["sync", "--all"])
    assert done.exit_code == 0, done.output
    run = client.get_run(run_id)
    assert run.info.status == expected
    assert len(server.tasks) == (2 if action == "reset" else 1)
    if action:
        verified = CliRunner().invoke(main, ["verify", run_id])
        assert verified.exit_code == 0, verified.output
    if action in ("failed", "stopped"):
        assert (server.task(task)["status"], run.data.tags["clearml.task_id"]) == (action, task)


def test_runs_of_other_backends_are_left_alone(server: ClearMLServer, client: MlflowClient) -> None:
    run_id = client.create_run("0", tags={"clearml.task_id": "t"}).info.run_id
    client.update_run(run_id, status="SCHEDULED")
    assert end_of(find_run(run_id), {}) == ""
