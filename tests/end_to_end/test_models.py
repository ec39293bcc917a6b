"""Models, data sets and traces of a run reach its Task, live and by `sync` alike."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import requests
from mlflow.entities import Run
from mlflow.version import VERSION

from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.harness import Place, ended, properties, scalars
from tests.end_to_end.processes import Finished, wait_for

SCRIPT = """
import mlflow, numpy, pandas, warnings
from sklearn.linear_model import LinearRegression
warnings.simplefilter("ignore")

class Twice(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input

@mlflow.trace
def answer(question):
    return question

frame = pandas.DataFrame({"x": [0.0, 1.0], "y": [0.0, 2.0]})
client = mlflow.MlflowClient()
mlflow.set_experiment("models")  # a tracking server's first experiment is not one that it serves artifacts of
with mlflow.start_run(run_name="models") as run:
    source = "https://me:hidden@example.com/data.csv?token=hidden"
    mlflow.log_input(mlflow.data.from_pandas(frame, source=source, name="numbers", targets="y"), context="training")
    ones = mlflow.data.from_numpy(numpy.ones((2, 2)), name="ones")
    mlflow.log_input(ones, context="validation", tags={"kind": "toy"})
    fitted = LinearRegression().fit(frame[["x"]], frame["y"])
    line = mlflow.sklearn.log_model(fitted, "line", registered_model_name="iris", pip_requirements=["scikit-learn"])
    if getattr(line, "model_id", None):  # since mlflow 3.0
        for step in range(3):
            mlflow.log_metric("score", step / 4, step=step, model_id=line.model_id, dataset=ones)
        client.log_model_params(line.model_id, {"depth": 2})
    mlflow.pyfunc.log_model("twice", python_model=Twice(), pip_requirements=["mlflow"])
    client.set_model_version_tag("iris", "1", "validated", "yes")
    client.transition_model_version_stage("iris", "1", "Staging")
    for number in range(3):
        answer(number)
client.set_registered_model_alias("iris", "champion", "1")
mlflow.register_model(f"runs:/{run.info.run_id}/twice", "copier")
"""


FETCH = """
import sys
from pathlib import Path
from clearml import Model
path = Path(Model(sys.argv[1]).get_local_copy())
if path.is_dir():
    import mlflow
    print("coefficients", *mlflow.sklearn.load_model(str(path)).coef_.round(3))
else:
    print(path.read_text())
"""


MAJOR = int(VERSION.split(".")[0])
OF_MLFLOW_3 = {"mlflow_status": "READY", "mlflow_param_depth": "2"} if MAJOR >= 3 else {}


class Outcome(NamedTuple):
    place: Place
    done: Finished
    run: Run
    task: dict[str, Any]


@pytest.fixture(scope="module")
def outcome(server: ClearMLServer, new_place: Callable[[ClearMLServer | None], Place]) -> Outcome:
    place = new_place(server)
    done = place.run(SCRIPT)
    run = place.the_run()
    ended(server, run.info.run_id)
    wait_for(lambda: not place.workers())
    return Outcome(place, done, run, ended(server, run.info.run_id))


def models(server: ClearMLServer, task: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the Task's output models by the name of the link, each with its metadata as plain values."""
    by_id = {model["id"]: model for model in server.models}
    found = {}
    for link in task["models"]["output"]:
        model = by_id[link["model"]]
        metadata = {key: item["value"] for key, item in model["metadata"].items()}
        kept = {key: model.get(key) for key in ("name", "uri", "framework", "tags", "ready", "task", "project")}
        last = [each for variants in model["last_metrics"].values() for each in variants.values()]
        kept["curves"] = {each["variant"]: (each["count"], each["value"]) for each in last}
        found[link["name"]] = {**kept, "metadata": metadata}
    return found


def model_id(server: ClearMLServer, task: dict[str, Any], name: str) -> str:
    (found,) = [link["model"] for link in task["models"]["output"] if link["name"] == name]
    return str(found)


def datasets(task: dict[str, Any]) -> list[dict[str, Any]]:
    held: list[dict[str, Any]] = json.loads(task["configuration"]["MLflow datasets"]["value"])
    return held


def test_the_script_notices_nothing(outcome: Outcome) -> None:
    assert outcome.done.code == 0, outcome.done.stderr
    assert len(outcome.done.agent_lines) == 1, outcome.done.stderr


def test_each_logged_model_is_one_output_model(outcome: Outcome, server: ClearMLServer) -> None:
    """With its name, its framework in ClearML's words, and an address that ClearML's clients can open."""
    found = models(server, outcome.task)
    assert sorted(found) == ["line", "twice"]
    assert [found[name]["name"] for name in sorted(found)] == ["line", "twice"]
    assert [found[name]["framework"] for name in sorted(found)] == ["ScikitLearn", "Custom"]
    for model in found.values():
        assert model["uri"].startswith("file:///")
        assert (model["task"], model["project"]) == (outcome.task["id"], outcome.task["project"])
        assert model["metadata"]["mlflow_run_id"] == outcome.run.info.run_id
        assert model["metadata"]["mlflow_model_uri"].startswith(("models:/m-", "runs:/"))
    assert len([model for model in server.models if model.get("task") == outcome.task["id"]]) == 2


def test_metadata_shows_the_registry(outcome: Outcome, server: ClearMLServer) -> None:
    """Also changes of a version after the run's end."""
    line, twice = (models(server, outcome.task)[name] for name in ("line", "twice"))
    assert line["tags"] == ["Staging", "champion", "iris/Staging", "iris@champion", "validated=yes"]
    registered = {key: value for key, value in line["metadata"].items() if "uri" not in key and "run" not in key}
    assert registered == {
        **OF_MLFLOW_3,
        "mlflow_flavors": "python_function, sklearn",
        "mlflow_tags": '{"validated": "yes"}',
        "mlflow_registered_model": "iris",
        "mlflow_version": "1",
        "mlflow_stage": "Staging",
        "mlflow_aliases": "champion",
    }
    assert twice["metadata"]["mlflow_registered_model"] == "copier"
    assert "mlflow_stage" not in twice["metadata"]
    held = properties(outcome.task)["mlflow_registered_models"]
    assert held == "copier/1; iris/1 @champion Staging validated=yes"


@pytest.mark.skipif(MAJOR < 3, reason="since mlflow 3.0")
def test_metrics_of_a_model_are_its_own_scalars(outcome: Outcome, server: ClearMLServer) -> None:
    """By data set, each point as it was logged; the run has them too, as MLflow does."""
    line = models(server, outcome.task)["line"]
    digest = next(each["digest"] for each in datasets(outcome.task) if each["name"] == "ones")
    assert line["curves"] == {f"score (ones {digest})": (3, 0.5)}
    of_run = scalars(server, outcome.task["id"])
    assert [of_run["score", step][0] for step in range(3)] == [0.0, 0.25, 0.5]


def test_data_sets_are_one_configuration_object(outcome: Outcome) -> None:
    """Name, digest, source, schema, profile and context of each; credentials of a source stay out of it."""
    numbers, ones = datasets(outcome.task)
    logged = {dataset.dataset.name: dataset.dataset for dataset in outcome.run.inputs.dataset_inputs}
    assert [numbers["name"], ones["name"]] == ["numbers", "ones"]
    assert [numbers["digest"], ones["digest"]] == [logged["numbers"].digest, logged["ones"].digest]
    assert numbers["source_type"] == "http"
    assert numbers["source"]["url"] == "https://example.com/data.csv"
    assert numbers["schema"] == json.loads(logged["numbers"].schema)
    assert numbers["profile"] == {"num_rows": 2, "num_elements": 4}
    assert numbers["tags"] == {"mlflow.data.context": "training"}
    assert ones["tags"] == {"kind": "toy", "mlflow.data.context": "validation"}


def test_traces_are_counted_and_shown(outcome: Outcome) -> None:
    """Without a page there is no link to them."""
    assert properties(outcome.task)["mlflow_traces"] == "3"
    assert [artifact["key"] for artifact in outcome.task["execution"]["artifacts"]] == ["MLflow trace table"]


def test_another_process_changes_the_registry_later(outcome: Outcome, server: ClearMLServer) -> None:
    """The run has ended long ago, and is not this process's; its Task's status stays what it is.

    An alias that this process publishes publishes the model, which stays published.
    """
    script = """
        import mlflow
        mlflow.MlflowClient().{call}
        """
    for call, aliases in (
        ('set_registered_model_alias("iris", "late", "1")', "champion, late"),
        ('delete_registered_model_alias("iris", "late")', "champion"),
    ):
        done = outcome.place.run(script.format(call=call), name="promote.py", AUTOINSTRUMENT_PUBLISH="iris@late")
        assert (done.code, done.agent_lines) == (0, []), done.stderr
        wait_for(lambda: not outcome.place.workers())
        task = server.task(outcome.task["id"])
        line = models(server, task)["line"]
        assert (line["metadata"]["mlflow_aliases"], line["ready"]) == (aliases, True)
        assert ("iris@late" in line["tags"]) == ("late" in aliases)
        assert task["status"] == "completed"


def comparable(server: ClearMLServer, run: Run, task: dict[str, Any]) -> list[Any]:
    """Return the Task's models, data sets and traces, without values that are new in each run."""
    found = models(server, task)
    for model in found.values():
        for key in ("task", "project", "uri", "ready"):  # a test above has published one
            del model[key]
        del model["metadata"]["mlflow_run_id"], model["metadata"]["mlflow_model_uri"]
    held = [{**dataset, "source": dataset["source_type"]} for dataset in datasets(task)]
    return [found, held, properties(task)["mlflow_traces"]]


def test_sync_makes_the_same_models_once(
    outcome: Outcome, server: ClearMLServer, own_place: Place, own_server: ClearMLServer
) -> None:
    """A run that was recorded without a server ends as one that was mirrored live; a second sync changes nothing."""
    own_server.close()
    assert own_place.run(SCRIPT).code == 0
    wait_for(lambda: not own_place.workers())
    own_server.start()
    (journal,) = own_place.journals()
    shutil.copytree(journal, own_place.root / "kept")
    for _ in range(2):
        synced = own_place.command("sync")
        assert synced.code == 0, synced.stderr
        run = own_place.the_run()
        task = ended(own_server, run.info.run_id)
        assert comparable(own_server, run, task) == comparable(server, outcome.run, outcome.task)
        assert len(own_server.models) == 2
        kept = json.loads((own_place.root / "kept" / "capture.json").read_text())
        shutil.copytree(own_place.root / "kept", journal)
        (journal / "capture.json").write_text(json.dumps({**kept, "task_id": task["id"]}))


def test_a_second_worker_finds_the_models_of_the_first(own_place: Place, own_server: ClearMLServer) -> None:
    """And so does a request whose answer was lost: one model in MLflow is one in ClearML."""
    script = SCRIPT.replace(
        "    mlflow.pyfunc",
        """
    import pathlib, time
    while not pathlib.Path("go on").exists():
        time.sleep(0.1)
    mlflow.pyfunc""",
    )
    own_server.faults.add(Fault(endpoints="models.create", status=500, times=1, when="after"))
    started = own_place.start(script)
    wait_for(lambda: own_server.tasks and own_server.tasks[0]["models"]["output"])
    for worker in own_place.workers():
        worker.kill()
    own_place.write("go on", "")
    assert started.finish().code == 0
    run = own_place.the_run()
    task = ended(own_server, run.info.run_id)
    wait_for(lambda: not own_place.workers())
    assert sorted(models(own_server, own_server.task(task["id"]))) == ["line", "twice"]
    assert len(own_server.models) == 2


def test_a_run_of_a_tracking_server_has_addresses_that_can_be_opened(
    place: Place, server: ClearMLServer, mlflow_server: str
) -> None:
    """Artifacts that go through the tracking server are fetched from it; the run's traces have a page."""
    place.uri = mlflow_server
    done = place.run(SCRIPT)
    assert len(done.agent_lines) == 1, done.stderr
    (run,) = [run for run in place.mlflow_runs() if run.info.run_name == "models"]
    task = ended(server, run.info.run_id)
    wait_for(lambda: not place.workers())
    task = ended(server, run.info.run_id)
    line = models(server, task)["line"]
    assert line["framework"] == "ScikitLearn"
    assert line["uri"].startswith(f"{mlflow_server}/api/2.0/mlflow-artifacts/artifacts/")
    assert "sklearn" in requests.get(line["uri"], timeout=10).text
    copy = place.run(FETCH, model_id(server, task, "line"), agent=False, name="fetch.py")
    assert "sklearn" in copy.stdout, copy.stderr
    (link,) = [artifact for artifact in task["execution"]["artifacts"] if artifact["key"] == "MLflow traces"]
    assert link["uri"] == f"{properties(task)['mlflow_run_url']}/traces"
    assert properties(task)["mlflow_traces"] == "3"


@pytest.mark.parametrize("served", [False, True], ids=["folder", "served"])
def test_a_copied_model_is_one_archive_that_clearml_extracts(
    own_place: Place, own_server: ClearMLServer, mlflow_server: str, served: bool
) -> None:
    """`upload` copies models, too, once: ClearML's own client fetches the files that MLflow loads."""
    own_place.uri = mlflow_server if served else own_place.uri
    own_place.environ |= {"AUTOINSTRUMENT_ARTIFACTS": "upload", "MLFLOW_TRACKING_URI": own_place.uri}
    script = SCRIPT.replace('"models"', f'"copied models {served}"')
    # Models of another test on this server would get Tasks here too: the script changes their versions.
    for name in ("iris", "copier"):
        script = script.replace(f'"{name}"', f'"copied-{name}"')
    done = own_place.run(script)
    assert len(done.agent_lines) == 1, done.stderr
    (run,) = [run for run in own_place.mlflow_runs() if run.info.run_name == f"copied models {served}"]
    ended(own_server, run.info.run_id)
    wait_for(lambda: not own_place.workers())
    task = ended(own_server, run.info.run_id)
    line = models(own_server, task)["line"]
    assert line["uri"].startswith(own_server.files_url)
    assert line["uri"].endswith("/model_package.zip")
    assert line["metadata"]["mlflow_model_uri"].startswith("models:/m-")
    fetched = own_place.run(FETCH, model_id(own_server, task, "line"), agent=False, name="fetch.py")
    assert "coefficients 2.0" in fetched.stdout, fetched.stderr

    verified = own_place.command("verify", run.info.run_id)
    assert verified.code == 0, verified.stdout
    uploads = len(own_server.calls("files.upload"))
    assert own_place.command("sync", "--full", "--run", run.info.run_id).code == 0
    assert len(own_server.calls("files.upload")) == uploads
