"""The Task has the values that MLflow has kept, which may differ from those it got: `verify` finds no difference."""

from __future__ import annotations

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import FILE_STORE, Place, ended, section
from tests.end_to_end.processes import wait_for

VALUES = """
import mlflow
from mlflow.entities import Metric, Param, RunTag
with mlflow.start_run(run_name="kept") as run:
    mlflow.log_param("long", "x" * 10_000)
    mlflow.log_params({"longer": "y" * 20_000, "blank": " a ", "number": 1})
    mlflow.set_tag("tag", "z" * 20_000)
    mlflow.set_tag("mlflow.note.content", "note " * 4_000)
    mlflow.log_param("taken", 1)
    client = mlflow.MlflowClient()
    params = [Param("first", "1"), Param("taken", "2"), Param("last", "3")]
    try:
        client.log_batch(run.info.run_id, params=params, tags=[RunTag("with", "it")])
    except mlflow.exceptions.MlflowException:
        print("refused")
    mlflow.log_param("after", 1)
"""


def assert_verified(place: Place, run_id: str) -> None:
    """The live run is clean, and a sync has nothing to do; a shared store may have other runs."""
    wait_for(lambda: not place.workers())
    verified = place.command("verify", run_id)
    assert verified.code == 0, verified.stdout + verified.stderr
    synced = place.command("sync", "--run", run_id)
    assert (synced.code, "unchanged" in synced.stdout) == (0, True), synced.stdout + synced.stderr


def test_values_that_were_cut_and_half_of_a_refused_batch(
    own_place: Place, own_server: ClearMLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder store keeps the parameters before the refused one."""
    own_place.environ |= FILE_STORE
    for name, value in FILE_STORE.items():
        monkeypatch.setenv(name, value)
    own_place.uri = (own_place.root / "mlruns").as_uri()
    done = own_place.run(VALUES)
    assert (done.code, done.stdout.strip()) == (0, "refused"), done.stderr
    run = own_place.the_run()
    task = ended(own_server, run.info.run_id)
    params = section(task, "MLflow")
    assert params == run.data.params
    assert (len(params["long"]), params["first"], params["taken"], "last" in params) == (6000, "1", "1", False)
    assert task["hyperparams"]["MLflow"]["number"]["type"] == "int"
    assert_verified(own_place, run.info.run_id)


def test_names_that_a_url_does_not_carry(own_place: Place, own_server: ClearMLServer, mlflow_server: str) -> None:
    """MLflow's client puts names into URLs as they are: `a#b.txt` is stored as `a`."""
    own_place.uri = mlflow_server
    script = """
        import mlflow
        mlflow.set_experiment("names")
        with mlflow.start_run(run_name="kept"):
            mlflow.log_param("long", "x" * 10_000)
            mlflow.set_tag("tag", "z" * 20_000)
            for name in ("a#b.txt", "c%20d.txt", "50%.txt", "e?f.txt", "plain.txt"):
                mlflow.log_text(name, f"folder/{name}")
        """
    done = own_place.run(script)
    assert done.code == 0, done.stderr
    run = own_place.run_named("kept")
    stored = {file.path for file in own_place.client.list_artifacts(run.info.run_id, "folder")}
    assert "folder/a#b.txt" not in stored
    task = ended(own_server, run.info.run_id)
    assert len(section(task, "MLflow tags")["tag"]) == len(run.data.tags["tag"]) < 20_000
    assert {artifact["key"] for artifact in task["execution"]["artifacts"]} == {"MLflow run", *stored}
    assert_verified(own_place, run.info.run_id)
