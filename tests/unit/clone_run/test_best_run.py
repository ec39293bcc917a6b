"""The best job of an optimiser has a tag in ClearML, and its run one in MLflow; no other job has one."""

from __future__ import annotations

from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.clone_run import best_run
from tests.clearml_server import ClearMLServer
from tests.end_to_end.conftest import database as database
from tests.unit.sync.test_stored import a_run

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_one_job_is_the_best(server: ClearMLServer, client: MlflowClient) -> None:
    session = Session()
    tasks = Tasks(session)
    search = tasks.create("search", {"name": "search", "type": "optimizer"}).id
    jobs: dict[str, str] = {}
    for name in ("first", "second", "without a run"):
        body: dict[str, Any] = {"name": name, "type": "training", "parent": search}
        jobs[name] = tasks.create("search", body).id
        session.call("tasks.started", task=jobs[name])
    runs = {name: a_run(client, name, status="") for name in ("first", "second")}
    for name, run_id in runs.items():
        values = {
            "mlflow_run_id": run_id,
            "mlflow_tracking_uri": client.tracking_uri,
            "mlflow_task_adopted": jobs[name],
        }
        items = [{"section": "properties", "name": key, "value": value} for key, value in values.items()]
        session.call("tasks.edit_hyper_params", task=jobs[name], hyperparams=items)

    def best() -> tuple[list[str], dict[str, str]]:
        held = {name: client.get_run(run_id).data.tags.get("clearml.best_of") for name, run_id in runs.items()}
        tagged = [task["name"] for task in server.tasks if "best" in task["tags"]]
        return tagged, {name: tag for name, tag in held.items() if tag}

    for name in ("first", "second", "second"):
        best_run.tag_best(tasks, jobs[name])
        assert best() == ([name], {name: search})
    best_run.tag_best(tasks, jobs["without a run"])
    assert best() == (["second"], {"second": search}), "a Task that is no run's is left alone"


def test_a_failure_is_one_line(server: ClearMLServer) -> None:
    server.close()
    with pytest.raises(SystemExit, match=r"^\S.*$"):
        best_run.main("1" * 32)
