"""Models of MLflow 3 and versions of its registry, live and by `sync`: the content of ClearML's models."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from clearml.automation.trigger import ModelTrigger
from clearml.backend_api.session.client import APIClient
from click.testing import CliRunner, Result
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.cli import main
from autoinstrument.journal.run_journal import RunJournals
from autoinstrument.mirror.kinds.models import Models
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mlflow_store.registry import Registry
from autoinstrument.mlflow_store.run_reader import open_run
from autoinstrument.records import ModelMetricsLogged, ModelsLogged
from autoinstrument.settings import Settings
from autoinstrument.sync.recorded import sync
from autoinstrument.sync.selection import Selection
from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.conftest import database as database
from tests.end_to_end.harness import properties, task_of
from tests.unit.conftest import sdk_task
from tests.unit.mirror.runs import PROCESS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
of_mlflow_3 = pytest.mark.skipif(not hasattr(MlflowClient, "create_logged_model"), reason="since mlflow 3.0")


def autoinstrument(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def synced(run_id: str, *arguments: str) -> str:
    """Sync a run, and return its outcome."""
    done = autoinstrument("sync", "--json", "--run", run_id, *arguments)
    assert done.exit_code == 0, done.output
    (outcome,) = json.loads(done.stdout)
    return str(outcome["result"])


@pytest.fixture
def run_id(client: MlflowClient) -> str:
    return str(client.create_run("0").info.run_id)


def checkpoint(client: MlflowClient, run_id: str, **more: Any) -> str:
    """Log a checkpoint with its metrics, as a training loop does, and an evaluation of it."""
    params = {"lr": "0.1", "api_key": "abc123"}
    model = client.create_logged_model("0", "step-7", run_id, {"stage": "rough"}, params, "agent", **more)
    points = [Metric("val/loss", 1 / (step + 1), 1_600_000_000_000 + step, step) for step in range(3)]
    scored = Metric("accuracy", 0.5, 1_600_000_000_009, 7, dataset_name="holdout", dataset_digest="d1", run_id=run_id)
    for metric in (*points, scored):
        metric._model_id = model.model_id
    client.log_batch(run_id, [*points, scored])
    client.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


def version(client: MlflowClient, run_id: str, name: str = "iris") -> str:
    """Register a version whose files are elsewhere, as any MLflow can."""
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    return str(client.create_model_version(name, f"s3://bucket/{run_id}", run_id).version)


def model(server: ClearMLServer, run_id: str) -> dict[str, Any]:
    """Return the one model of a run's Task, which it links."""
    task = task_of(server, run_id)
    (held,) = [model for model in server.models if model["task"] == task["id"]]
    assert [entry["model"] for entry in task["models"]["output"]] == [held["id"]]
    return held


def curves(model_id: str) -> dict[str, dict[int, float]]:
    """Return a model's scalars, as ClearML's pages ask for them."""
    found = Session().call("events.scalar_metrics_iter_histogram", task=model_id, model_events=True)
    return {
        f"{title}|{series}": dict(zip(curve["x"], curve["y"], strict=True))
        for title, of_title in found.items()
        for series, curve in of_title.items()
    }


@of_mlflow_3
def test_the_sdk_reads_parameters_status_tags_and_metrics(
    client: MlflowClient, server: ClearMLServer, run_id: str
) -> None:
    model_id = checkpoint(client, run_id)
    client.set_terminated(run_id)
    assert synced(run_id) == "synced"
    (held,) = sdk_task(task_of(server, run_id)["id"]).models["output"]
    assert {name: item["value"] for name, item in held.get_all_metadata().items()} == {
        "mlflow_model_uri": f"models:/{model_id}",
        "mlflow_run_id": run_id,
        "mlflow_status": "READY",
        "mlflow_model_type": "agent",
        "mlflow_param_lr": "0.1",
        "mlflow_param_api_key": "********",
        "mlflow_tags": '{"stage": "rough"}',
    }
    assert held.tags == ["stage=rough"]
    thirds = {0: 1.0, 1: 0.5, 2: pytest.approx(1 / 3)}
    assert curves(held.id) == {"val|loss": thirds, "accuracy|accuracy (holdout d1)": {7: 0.5}}
    assert autoinstrument("verify", run_id).exit_code == 0
    before = server.models
    assert synced(run_id) == "unchanged"
    assert server.models == before


@of_mlflow_3
def test_missing_data_is_found_and_sent(client: MlflowClient, server: ClearMLServer, run_id: str) -> None:
    """A model that an older version made has neither metrics nor status: `verify` names the command."""
    checkpoint(client, run_id)
    client.set_terminated(run_id)
    synced(run_id)
    with server.state.lock:
        (held,) = server.state.models.values()
        server.state.events.pop(held["id"])
        held["last_metrics"] = {}
        for item in ("mlflow_status", "mlflow_param_lr", "mlflow_param_api_key", "mlflow_model_type"):
            del held["metadata"][item]
    found = autoinstrument("verify", run_id)
    assert found.exit_code == 1
    assert "an older version has made it" in found.output
    assert "3 of 3 points are missing" in found.output
    assert f"autoinstrument sync --full --run {run_id}" in found.output
    assert synced(run_id, "--full") == "synced"
    assert autoinstrument("verify", run_id).exit_code == 0


@of_mlflow_3
def test_live_and_sync_make_the_same_models(
    client: MlflowClient, server: ClearMLServer, run_id: str, tmp_path: Path
) -> None:
    """Live, points have records of their own, which may come before the model's."""
    model_id = checkpoint(client, run_id)
    reader = open_run(client.tracking_uri, run_id)
    (whole,) = (record for record in Models().read(reader) if isinstance(record, ModelsLogged))
    points = whole.models[0]["points"]
    journal = RunJournals(Settings(home=str(tmp_path / "home"))).of(
        reader.run._replace(owned=True, resumed=False), PROCESS
    )
    mirror = RunMirror(journal, Settings(), Tasks(Session()), Uploads(FileUploads(Session())))
    mirror.take(ModelMetricsLogged(run_id, points[:2], f"models:/{model_id}"))
    mirror.flush()
    assert server.models == []
    assert mirror.weight > 0
    mirror.take(whole._replace(models=[{**whole.models[0], "points": []}]))
    mirror.flush()
    mirror.take(ModelMetricsLogged(run_id, points[2:], f"models:/{model_id}"))
    mirror.end_as(End("completed", "", ""))
    mirror.flush()
    assert not mirror.has_work
    assert not mirror.is_incomplete
    live = model(server, run_id)
    client.set_terminated(run_id)
    synced(run_id, "--full")
    assert autoinstrument("verify", run_id).exit_code == 0
    again = model(server, run_id)
    for stamp in ("last_update", "last_change", "last_metrics"):
        del live[stamp], again[stamp]
    assert live == again


@of_mlflow_3
def test_points_of_a_model_that_never_came_are_read_from_the_store(
    client: MlflowClient, server: ClearMLServer, run_id: str, tmp_path: Path
) -> None:
    run = open_run(client.tracking_uri, run_id).run._replace(owned=True, resumed=False)
    journal = RunJournals(Settings(home=str(tmp_path / "home"))).of(run, PROCESS)
    mirror = RunMirror(journal, Settings(), Tasks(Session()), Uploads(FileUploads(Session())))
    mirror.take(ModelMetricsLogged(run_id, [("loss", 1.0, 0, 0, "", "")], "models:/m-1"))
    assert not mirror.is_incomplete
    mirror.end_as(End("completed", "", ""))
    assert mirror.is_incomplete
    mirror.note_store_read()
    assert not mirror.is_incomplete
    assert mirror.weight == 0


@of_mlflow_3
def test_a_deleted_model_is_archived(client: MlflowClient, server: ClearMLServer, run_id: str) -> None:
    """Its files may be in use elsewhere: ClearML's model stays, and pages do not show it. A person's tags stay."""
    model_id = checkpoint(client, run_id)
    client.set_terminated(run_id)
    synced(run_id)
    Session().call("models.edit", model=model(server, run_id)["id"], tags=["stage=rough", "mine"])
    client.delete_logged_model(model_id)
    assert "no longer in MLflow" in autoinstrument("verify", run_id).output
    for _ in range(2):
        synced(run_id, "--full")
        held = model(server, run_id)
        assert held["system_tags"] == ["archived"]
        assert held["tags"] == ["mine", "stage=rough"]
        assert held["metadata"]["mlflow_status"]["value"] == "DELETED"
        assert autoinstrument("verify", run_id).exit_code == 0


@of_mlflow_3
def test_a_model_that_is_not_ready_is_shown_as_that(client: MlflowClient, server: ClearMLServer, run_id: str) -> None:
    made = client.create_logged_model("0", "doomed", run_id)
    client.set_terminated(run_id)
    for status in ("PENDING", "FAILED"):
        if status == "FAILED":
            client.finalize_logged_model(made.model_id, status)
        synced(run_id, "--full")
        assert model(server, run_id)["metadata"]["mlflow_status"]["value"] == status
        assert autoinstrument("verify", run_id).exit_code == 0


def test_an_alias_that_another_process_moves_moves_here(
    client: MlflowClient, server: ClearMLServer, run_id: str
) -> None:
    """A `sync` that compares only what one search shows notices it: nothing of the runs themselves has changed."""
    other = str(client.create_run("0").info.run_id)
    first, second = version(client, run_id), version(client, other)
    for run in (run_id, other):
        client.set_terminated(run)
    client.set_registered_model_alias("iris", "champion", first)
    assert [synced(run) for run in (run_id, other)] == ["synced", "synced"]
    assert [model(server, run)["tags"] for run in (run_id, other)] == [["champion", "iris@champion"], []]
    assert properties(task_of(server, run_id))["mlflow_registered_models"] == "iris/1 @champion"
    client.set_registered_model_alias("iris", "champion", second)
    assert autoinstrument("verify", run_id).exit_code == 1
    assert [synced(run) for run in (run_id, other)] == ["synced", "synced"]
    assert [model(server, run)["tags"] for run in (run_id, other)] == [[], ["champion", "iris@champion"]]
    assert [synced(run) for run in (run_id, other)] == ["unchanged", "unchanged"]
    client.delete_registered_model_alias("iris", "champion")
    client.set_model_version_tag("iris", second, "validated", "yes")
    assert synced(other) == "synced"
    assert model(server, other)["tags"] == ["validated=yes"]
    assert all(autoinstrument("verify", run).exit_code == 0 for run in (run_id, other))


def test_a_follower_notices_an_alias_that_moves_between_old_runs(
    client: MlflowClient, server: ClearMLServer, run_id: str
) -> None:
    """`sync --follow` looks at runs that ended lately, and at those whose versions have changed."""
    other = str(client.create_run("0").info.run_id)
    versions = [version(client, run) for run in (run_id, other)]
    for run in (run_id, other):
        client.set_terminated(run)
        synced(run)
    registry = Registry(client.tracking_uri, keep_s=0)
    lately = Selection(experiments=("Default",), ended_since_ms=2**42)

    def followed(selection: Selection = lately) -> dict[str, str]:
        registry._next_at = 0.0
        return {each.run_id: each.result for each in sync(selection, Settings(), registry=registry)}

    assert followed() == {}
    for made, changed in zip(versions, ({run_id}, {run_id, other}), strict=True):
        client.set_registered_model_alias("iris", "champion", made)
        server.faults.add(Fault("models.*", status=503))
        assert set(followed().values()) == {"failed"}
        server.faults.clear()
        assert followed() == dict.fromkeys(changed, "synced")
        assert followed() == {}
    assert model(server, other)["tags"] == ["champion", "iris@champion"]
    client.delete_registered_model_alias("iris", "champion")
    elsewhere = client.create_experiment("elsewhere")
    assert followed(lately._replace(experiments=(client.get_experiment(elsewhere).name,))) == {}


def test_a_deleted_version_leaves_its_model(client: MlflowClient, server: ClearMLServer, run_id: str) -> None:
    """A version whose files the run did not log is a separate model, and is archived with the version."""
    made = version(client, run_id)
    client.set_registered_model_alias("iris", "champion", made)
    client.set_terminated(run_id)
    synced(run_id)
    client.delete_registered_model("iris")
    assert synced(run_id) == "synced"
    held = model(server, run_id)
    assert (held["system_tags"], held["tags"]) == (["archived"], [])
    assert not [item for item in held["metadata"] if "alias" in item or "version" in item]
    assert "mlflow_registered_models" not in properties(task_of(server, run_id))
    assert synced(run_id) == "unchanged"
    assert autoinstrument("verify", run_id).exit_code == 0


@pytest.mark.parametrize("by", ["champion", "iris/Production"])
def test_a_model_is_published_by_alias_or_stage_and_fires_clearmls_trigger(
    client: MlflowClient, server: ClearMLServer, run_id: str, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """Its Task is not, because a published Task takes no more data."""
    made, began = version(client, run_id), datetime.datetime.now(datetime.timezone.utc)
    client.set_terminated(run_id)
    monkeypatch.setenv("AUTOINSTRUMENT_PUBLISH", f"other,{by}")
    synced(run_id)
    assert not model(server, run_id)["ready"]
    client.set_registered_model_alias("iris", "champion", made)
    client.transition_model_version_stage("iris", made, "Production")
    found = autoinstrument("verify", run_id)
    assert "not published" in found.output
    synced(run_id)
    assert model(server, run_id)["ready"]
    assert task_of(server, run_id)["status"] == "completed"
    assert autoinstrument("verify", run_id).exit_code == 0
    api = APIClient()
    for tag in ("iris@champion", "iris/Production"):
        trigger = ModelTrigger(name="t", tags=[tag], on_publish=True)
        fired = api.models.get_all(only_fields=["id"], **{
            name: value for name, value in trigger.build_query(began).items() if name in ("tags", "ready")
        })  # fmt: skip
        assert [each.id for each in fired] == [model(server, run_id)["id"]]
    client.set_model_version_tag("iris", made, "later", "yes")  # a published model still takes changes
    synced(run_id)
    assert "later=yes" in model(server, run_id)["tags"]


@of_mlflow_3
def test_a_published_model_takes_points(
    client: MlflowClient, server: ClearMLServer, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOINSTRUMENT_PUBLISH", "champion")
    model_id = checkpoint(client, run_id)
    client.set_terminated(run_id)
    client.create_registered_model("iris")
    made = client.create_model_version("iris", f"models:/{model_id}", run_id, model_id=model_id)
    client.set_registered_model_alias("iris", "champion", made.version)
    synced(run_id)
    assert model(server, run_id)["ready"]
    client.log_metric(run_id, "late", 0.25, step=1, model_id=model_id)
    synced(run_id, "--full")
    assert curves(model(server, run_id)["id"])["late|late"] == {1: 0.25}
    assert autoinstrument("verify", run_id).exit_code == 0


def test_a_run_without_models_costs_no_request(client: MlflowClient, server: ClearMLServer, run_id: str) -> None:
    client.set_terminated(run_id)
    synced(run_id)
    synced(run_id, "--full")
    assert autoinstrument("verify", run_id).exit_code == 0
    assert [request for request in server.requests if request.endpoint.startswith("models.")] == []


def test_a_tag_that_was_not_taken_away_is_taken_away_the_next_time(
    client: MlflowClient, server: ClearMLServer, run_id: str
) -> None:
    made = version(client, run_id)
    client.set_registered_model_alias("iris", "champion", made)
    client.set_terminated(run_id)
    synced(run_id)
    client.delete_registered_model_alias("iris", "champion")
    server.faults.add(Fault("models.edit", status=503))
    assert autoinstrument("sync", "--run", run_id).exit_code == 1
    server.faults.clear()
    assert synced(run_id) == "synced"
    assert model(server, run_id)["tags"] == []
