"""Models that a run has read are its Task's input models: one ClearML model for its maker and its readers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from click.testing import CliRunner
from mlflow.entities import LoggedModelInput
from mlflow.tracking import MlflowClient

from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.shared_models import SharedModels
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.cli import main
from autoinstrument.journal.run_journal import RunJournal, RunJournals
from autoinstrument.mirror.kinds.input_models import InputModels
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mlflow_store.run_reader import open_run
from autoinstrument.records import InputModel, ModelsRead, RunStarted
from autoinstrument.settings import read_settings
from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.harness import properties, task_of
from tests.unit.conftest import sdk_task

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
RUN = RunStarted("f" * 32, "run", "0", "exp", "http://x", "", "", 0, "", {}, False, True, "")


def command(*arguments: str) -> Any:
    return json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)


def synced(*run_ids: str) -> None:
    for run_id in run_ids:
        assert [outcome["result"] for outcome in command("sync", "--full", "--run", run_id)] == ["synced"]


def item(uri: str = "models:/m-1", **fields: Any) -> InputModel:
    given: dict[str, Any] = {"uri": uri, "name": "base", "location": "s3://b/base", "flavors": ["sklearn"]}
    return InputModel(**{**given, "source_run": "", **fields})


def inputs(server: ClearMLServer, run_id: str) -> list[tuple[str, str]]:
    return [(entry["name"], entry["model"]) for entry in task_of(server, run_id)["models"]["input"]]


@pytest.fixture
def runs(client: MlflowClient) -> tuple[str, str]:
    """A run that has made a model, and one that has evaluated it."""
    producer, reader = (str(client.create_run("0").info.run_id) for _ in range(2))
    model = client.create_logged_model("0", name="line", source_run_id=producer)
    client.finalize_logged_model(model.model_id, "READY")
    client.log_inputs(reader, models=[LoggedModelInput(model.model_id)])
    for run_id in (producer, reader):
        client.set_terminated(run_id)
    return producer, reader


@pytest.mark.parametrize("producer_first", [True, False])
def test_an_input_model_is_the_output_model_of_its_producers_task(
    server: ClearMLServer, runs: tuple[str, str], producer_first: bool
) -> None:
    """Whichever is synced first: the reader makes a model that ClearML lacks, and its own run takes it over."""
    producer, reader = runs
    synced(*(runs if producer_first else reversed(runs)))
    (model,) = server.models
    assert model["task"] == task_of(server, producer)["id"]
    assert model["name"] == "line"
    assert [entry["model"] for entry in task_of(server, producer)["models"]["output"]] == [model["id"]]
    assert inputs(server, reader) == [("line", model["id"])]
    assert inputs(server, producer) == []
    assert command("verify", producer, reader)["same"] == 2
    (found,) = sdk_task(task_of(server, reader)["id"]).get_models()["input"]
    assert (found.id, found.task) == (model["id"], task_of(server, producer)["id"])
    assert sdk_task(found.task).id == task_of(server, producer)["id"], "the way from the evaluation to the training"
    assert properties(task_of(server, reader))["mlflow_input_models"] == found.get_metadata("mlflow_model_uri")
    before = len(server.calls("tasks.add_or_update_model"))
    synced(*runs)
    assert len(server.models) == 1
    assert len(server.calls("tasks.add_or_update_model")) == before


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("producer_first", [True, False])
def test_a_connection_that_breaks_makes_no_model_twice(
    server: ClearMLServer, runs: tuple[str, str], producer_first: bool, when: Literal["before", "after"]
) -> None:
    """And is no outage: the same attempt looks for the model, and makes it if it is not there."""
    server.faults.add(Fault("models.create", action="drop", when=when, times=1))
    synced(*(runs if producer_first else reversed(runs)))
    (model,) = server.models
    assert model["task"] == task_of(server, runs[0])["id"]
    assert inputs(server, runs[1]) == [("line", model["id"])]
    assert command("verify", *runs)["same"] == 2


def test_a_model_of_a_task_that_the_run_had_before_is_taken_over(server: ClearMLServer, runs: tuple[str, str]) -> None:
    synced(*runs)
    (model,) = server.models
    before = str(Session().call("tasks.create", name="before", type="training")["id"])
    Session().call("models.edit", model=model["id"], task=before)
    synced(runs[0])
    (model,) = server.models
    assert model["task"] == task_of(server, runs[0])["id"]
    other = {"key": "mlflow_run_id", "type": "str", "value": "e" * 32}
    Session().call("models.add_or_update_metadata", model=model["id"], metadata=[other])
    Session().call("models.edit", model=model["id"], task=before)
    synced(runs[0])
    assert len(server.models) == 2, "one that another run has made stays where it is"


def test_a_link_that_is_missing_is_a_difference(server: ClearMLServer, runs: tuple[str, str]) -> None:
    synced(*runs)
    task = task_of(server, runs[1])
    Session().call("tasks.edit", task=task["id"], force=True, models={**task["models"], "input": []})
    (different,) = command("verify", runs[1])["different"]
    (difference,) = different["differences"]
    assert difference["what"] == "input model"
    assert difference["detail"].startswith("missing: line; `autoinstrument sync --full --run ")
    synced(runs[1])
    assert command("verify", runs[1])["same"] == 1


def test_data_that_only_the_journal_has_is_synced_and_stays(server: ClearMLServer, client: MlflowClient) -> None:
    """MLflow notes no `load_model`."""
    run_id = str(client.create_run("0").info.run_id)
    client.set_terminated(run_id)
    run = open_run(client.tracking_uri, run_id).stored.run._replace(owned=True)
    journal = RunJournals(read_settings()).of(run, None)
    journal.input_models = [item(location="https://mlflow.example.com/artifacts/base")]
    journal.save()
    assert RunJournal.load(journal.folder).input_models == journal.input_models
    assert [outcome["result"] for outcome in command("sync")] == ["synced"]
    (model,) = server.models
    assert (model["uri"], model["framework"]) == ("https://mlflow.example.com/artifacts/base/MLmodel", "ScikitLearn")
    for _ in range(2):
        assert inputs(server, run_id) == [("base", model["id"])]
        synced(run_id)  # from MLflow's store alone
    assert command("verify", run_id)["same"] == 1


def test_a_run_without_input_models_costs_no_request(server: ClearMLServer, client: MlflowClient) -> None:
    run_id = str(client.create_run("0").info.run_id)
    client.set_terminated(run_id)
    assert list(InputModels().read(open_run(client.tracking_uri, run_id))) == [ModelsRead(run_id, [])]
    synced(run_id)
    assert command("verify", run_id)["same"] == 1
    assert not server.calls("models.get_all")


def mirror_of(tmp_path: Path, run: RunStarted = RUN) -> RunMirror:
    journal = RunJournal(tmp_path, run, None)
    journal.kept = False
    return RunMirror(journal, read_settings(), Tasks(Session()), Uploads(FileUploads(Session())))


def test_many_models_of_one_name_and_one_that_is_an_output(server: ClearMLServer, tmp_path: Path) -> None:
    mirror = mirror_of(tmp_path)
    mirror.take(ModelsRead(RUN.run_id, [item(f"models:/m-{number}") for number in range(3)]))
    mirror.flush()
    mirror.take(ModelsRead(RUN.run_id, [item("models:/m-1"), item("models:/m-9", name="other")]))
    mirror.flush()
    assert [name for name, _ in inputs(server, RUN.run_id)] == ["base", "base (2)", "base (3)", "other"]
    assert len(server.models) == 4
    assert all(model["project"] == task_of(server, RUN.run_id)["project"] for model in server.models)


def test_a_clone_of_a_run_that_has_read_none_keeps_what_a_person_has_put_there(
    server: ClearMLServer, tmp_path: Path
) -> None:
    mirror_of(tmp_path).flush()
    call = Session().call
    clone = str(call("tasks.clone", task=task_of(server, RUN.run_id)["id"])["id"])
    person = str(call("models.create", name="own", uri="s3://b/own")["id"])
    call("tasks.add_or_update_model", task=clone, type="input", name="own", model=person)
    again = mirror_of(tmp_path, RUN._replace(run_id="c" * 32, task_id=clone))
    again.flush()
    again.end_as(End("completed", "", ""))
    again.flush()
    task = server.task(clone)
    assert [entry["model"] for entry in task["models"]["input"]] == [person]
    assert not server.calls("tasks.delete_models")


def test_a_clone_has_what_its_own_run_has_read_and_what_a_person_has_put_there(
    server: ClearMLServer, tmp_path: Path
) -> None:
    mirror = mirror_of(tmp_path)
    mirror.take(ModelsRead(RUN.run_id, [item("models:/m-1"), item("models:/m-2", name="judge")]))
    mirror.flush()
    call = Session().call
    clone = str(call("tasks.clone", task=task_of(server, RUN.run_id)["id"])["id"])
    person = str(call("models.create", name="own", uri="s3://b/own")["id"])
    call("tasks.add_or_update_model", task=clone, type="input", name="own", model=person)
    run = RUN._replace(run_id="c" * 32, task_id=clone)
    again = mirror_of(tmp_path, run)
    again.take(ModelsRead(run.run_id, [item("models:/m-2", name="judge"), item("models:/m-3", name="tuned")]))
    again.flush()
    again.end_as(End("completed", "", ""))
    again.flush()
    task = server.task(clone)
    assert {entry["name"] for entry in task["models"]["input"]} == {"judge", "own", "tuned"}
    assert properties(task)["mlflow_input_models"] == "models:/m-2, models:/m-3"


def test_runs_that_need_one_model_at_the_same_time_make_one(server: ClearMLServer, tmp_path: Path) -> None:
    mirrors = [mirror_of(tmp_path / str(number), RUN._replace(run_id=f"{number}" * 32)) for number in range(4)]
    for mirror in mirrors:
        mirror.take(ModelsRead(mirror.run.run_id, [item()]))
    threads = [threading.Thread(target=mirror.flush) for mirror in mirrors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (model,) = server.models
    assert [inputs(server, mirror.run.run_id) for mirror in mirrors] == [[("base", model["id"])]] * 4


def test_the_younger_of_two_that_processes_have_made_gives_way(
    server: ClearMLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, other = SharedModels(Session()), SharedModels(Session())
    metadata = [{"key": "mlflow_model_uri", "type": "str", "value": "models:/m-1"}]
    fields = {"name": "base", "uri": "s3://b/base"}
    looked: list[Any] = []
    of_uris: Callable[..., Any] = shared.of_uris

    def look(uris: list[str]) -> Any:
        found = of_uris(uris)
        if not looked:  # the other one makes it right after this look
            looked.append(other.made("", fields, metadata, "models:/m-1"))
        return found

    monkeypatch.setattr(shared, "of_uris", look)
    assert shared.made("", fields, metadata, "models:/m-1")["id"] == looked[0]["id"]
    assert [model["id"] for model in server.models] == [looked[0]["id"]]
