"""Runs of several workspaces of one MLflow server: each has its Task and its links, whatever process reads it later."""

from __future__ import annotations

import json

import pytest

from autoinstrument.mlflow_store.runs import find_run, find_runs
from tests.end_to_end.harness import Place

pytest.importorskip("mlflow.tracking._workspace", reason="this MLflow has no workspaces")

from mlflow.tracking import MlflowClient

TWO_WORKSPACES = """
    import mlflow

    def train(workspace):
        mlflow.set_workspace(workspace)
        mlflow.set_experiment("same name")
        with mlflow.start_run(run_name=f"of {workspace}"):
            mlflow.log_param("long", f"{workspace} " * 200)
            mlflow.log_metric("loss", 0.5)
            mlflow.log_text(f"file of {workspace}", "notes/a.txt")

    for workspace in ("team-a", "team-b", "default", "team-a"):
        train(workspace)
    mlflow.set_workspace(None)
    mlflow.set_experiment("same name")
    with mlflow.start_run(run_name="of none"):
        mlflow.log_text("file", "a.txt")
"""


@pytest.fixture(scope="module")
def address(workspace_server: str) -> str:
    client = MlflowClient(workspace_server)
    for name in ("team-a", "team-b"):
        client.create_workspace(name)
    return workspace_server


def test_each_run_is_linked_in_its_workspace_and_found_from_outside(
    own_place: Place, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_place.uri = address
    done = own_place.run(TWO_WORKSPACES)
    assert done.code == 0, done.stderr
    monkeypatch.delenv("MLFLOW_WORKSPACE", raising=False)
    runs = list(find_runs(address))
    found = sorted((stored.run.run_name, stored.run.workspace) for stored in runs)
    assert found == [
        ("of default", "default"), ("of none", "default"),
        ("of team-a", "team-a"), ("of team-a", "team-a"), ("of team-b", "team-b"),
    ]  # fmt: skip
    assert own_place.server is not None
    for stored in runs:
        run = stored.run
        assert run.tags["clearml.state"] == "synced"
        task = own_place.server.task(run.tags["clearml.task_id"])
        properties = {name: item["value"] for name, item in task["hyperparams"]["properties"].items()}
        is_team = run.workspace != "default"
        assert properties.get("mlflow_workspace") == (run.workspace if is_team else None)
        page = f"{address}/#/experiments/{run.experiment_id}/runs/{run.run_id}"
        assert properties["mlflow_run_url"] == page + (f"?workspace={run.workspace}" if is_team else "")
    verified = own_place.command("verify", "--json")
    assert verified.code == 0, verified.stdout + verified.stderr
    assert json.loads(verified.stdout)["same"] == 5
    synced = own_place.command("sync", "--all", "--json")
    assert {outcome["result"] for outcome in json.loads(synced.stdout)} == {"unchanged"}
    listed = json.loads(own_place.command("status", "--json").stdout)
    assert sorted({row["workspace"] for row in listed}) == ["", "team-a", "team-b"]
    of_b = next(stored.run.run_id for stored in runs if stored.run.workspace == "team-b")
    assert find_run(of_b, address).run.workspace == "team-b"
    chosen = own_place.command("status", "--json", MLFLOW_WORKSPACE="team-b")
    assert {row["workspace"] for row in json.loads(chosen.stdout)} == {"team-b"}


def test_a_pending_run_is_synced_where_the_variable_is_not_set(
    own_place: Place, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_place.uri = address
    server, own_place.server = own_place.server, None
    script = """
        import mlflow
        mlflow.set_experiment("waiting")
        with mlflow.start_run(run_name="waits"):
            mlflow.log_text("hello", "a.txt")
    """
    assert own_place.run(script, MLFLOW_WORKSPACE="team-a").code == 0
    own_place.server = server
    synced = own_place.command("sync", "--json")
    assert [outcome["result"] for outcome in json.loads(synced.stdout)] == ["synced"], synced.stderr
    monkeypatch.delenv("MLFLOW_WORKSPACE", raising=False)
    run = next(stored.run for stored in find_runs(address) if stored.run.run_name == "waits")
    assert (run.workspace, run.tags["clearml.state"]) == ("team-a", "synced")


THREADS = """
    import threading
    import mlflow

    both = threading.Barrier(2)

    def train(workspace):
        mlflow.set_workspace(workspace)  # of this thread, and of threads that it starts
        client = mlflow.MlflowClient()
        experiment = client.create_experiment("of a thread")
        for _ in range(3):
            both.wait(60)
            mlflow.set_workspace(workspace)
            with mlflow.start_run(experiment_id=experiment, run_name=f"in {workspace}"):
                both.wait(60)
                mlflow.log_param("long", f"{workspace} " * 200)
                mlflow.log_metric("loss", 0.5)
                both.wait(60)
                mlflow.log_text(f"file of {workspace}", "a.txt")

    threads = [threading.Thread(target=train, args=(name,)) for name in ("team-c", "team-d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


@pytest.mark.parametrize("store", ["server", "database"])
def test_threads_train_in_workspaces_of_their_own(
    own_place: Place, address: str, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database has workspaces without a server, too, for processes that enable them."""
    if store == "server":
        own_place.uri = address
    else:
        own_place.environ["MLFLOW_ENABLE_WORKSPACES"] = "true"
        monkeypatch.setenv("MLFLOW_ENABLE_WORKSPACES", "true")
    monkeypatch.setenv("MLFLOW_WORKSPACE", "default")
    client = MlflowClient(own_place.uri)
    for name in ("team-c", "team-d"):
        client.create_workspace(name)
    monkeypatch.delenv("MLFLOW_WORKSPACE")
    done = own_place.run(THREADS)
    assert done.code == 0, done.stderr
    assert own_place.server is not None
    runs = [stored.run for stored in find_runs(own_place.uri) if stored.run.run_name.startswith("in ")]
    assert sorted(run.run_name for run in runs) == ["in team-c"] * 3 + ["in team-d"] * 3
    for run in runs:
        assert run.run_name == f"in {run.workspace}"
        assert run.tags["clearml.state"] == "synced"
        task = own_place.server.task(run.tags["clearml.task_id"])
        assert task["hyperparams"]["properties"]["mlflow_workspace"]["value"] == run.workspace
        assert run.workspace in task["hyperparams"]["MLflow"]["long"]["value"]
    ids = [run.run_id for run in runs]  # the server has runs of other tests, too
    assert own_place.command("verify", *ids).code == 0
    synced = own_place.command("sync", "--json", *(word for run_id in ids for word in ("--run", run_id)))
    assert {outcome["result"] for outcome in json.loads(synced.stdout)} == {"unchanged"}
