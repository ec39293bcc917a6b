"""All commands agree which runs get a Task, and which tags it has."""

from __future__ import annotations

import json

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags

SCRIPT = """
    import mlflow
    mlflow.set_experiment("scratch")
    with mlflow.start_run(run_name="left alone", tags={"team": "vision"}):
        mlflow.log_metric("loss", 0.5)
    mlflow.set_experiment("prod/x")
    with mlflow.start_run(run_name="mirrored", tags={"team": "vision"}):
        mlflow.log_param("lr", 0.1)
        mlflow.log_metric("loss", 0.25)
    """


def test_runs_of_chosen_experiments_get_tasks_with_tags(own_place: Place, own_server: ClearMLServer) -> None:
    own_place.environ |= {"AUTOINSTRUMENT_EXPERIMENTS": "prod/*", "AUTOINSTRUMENT_TAGS": "nightly,team={team},lr={lr}"}
    done = own_place.run(SCRIPT)
    assert done.code == 0, done.stderr
    mirrored, alone = own_place.run_named("mirrored"), own_place.run_named("left alone")
    task = ended(own_server, mirrored.info.run_id)
    assert task["status"] == "completed"
    tags = {"mlflow", "nightly", "team=vision", "lr=0.1"}
    assert set(task["tags"]) == tags
    assert link_tags(own_place.mlflow_run(alone.info.run_id)) == {}

    for command in ("sync --all", "verify"):
        found = own_place.command(*command.split())
        assert found.code == 0, found
        assert alone.info.run_id not in found.stdout + found.stderr, command
    status = json.loads(own_place.command("status", "--json").stdout)
    assert {row["run_name"]: row["state"] for row in status} == {"mirrored": "synced", "left alone": "left out"}
    assert [each["id"] for each in own_server.tasks] == [task["id"]]
    assert set(own_server.tasks[0]["tags"]) == tags
    assert link_tags(own_place.mlflow_run(alone.info.run_id)) == {}
    assert alone.data.tags.keys() == own_place.mlflow_run(alone.info.run_id).data.tags.keys()
