"""Run and Task link to each other, and both have the place that the settings name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags, properties, scalars, task_page

SCRIPT = """
import mlflow
mlflow.set_experiment("{experiment}")
with mlflow.start_run(run_name="{run}"):
    mlflow.log_metric("loss", 1.0)
"""


@pytest.fixture
def run_there(place: Place, mlflow_server: str) -> Callable[..., tuple[Any, str]]:
    """Run a script against the MLflow server, return the run as it is there, and its page."""

    def run(experiment: str, **environ: str) -> tuple[Any, str]:
        place.uri = mlflow_server
        done = place.run(SCRIPT.format(experiment=experiment, run="over http"), **environ)
        assert done.code == 0, done.stderr
        client = MlflowClient(mlflow_server)
        (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
        page = f"{mlflow_server}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
        assert len(done.agent_lines) == 1
        if not environ:
            assert page in done.agent_lines[0]
            assert link_tags(run)["task_url"] in done.agent_lines[0]
        return run, page

    return run


def test_a_tracking_server_gives_the_task_a_link(server: ClearMLServer, place: Place, run_there: Any) -> None:
    """The run's page as user property and as an artifact, which the web UI makes clickable."""
    run, page = run_there("link there")
    task = ended(server, run.info.run_id)
    assert properties(task)["mlflow_run_url"] == page
    (artifact,) = task["execution"]["artifacts"]
    assert artifact["key"] == "MLflow run"
    assert artifact["uri"] == page
    assert link_tags(run)["state"] == "synced"
    assert link_tags(run)["task_url"] == task_page(server, task)
    assert scalars(server, task["id"]) == place.points(run.info.run_id)


def test_credentials_of_the_tracking_uri_are_nowhere(server: ClearMLServer, place: Place, mlflow_server: str) -> None:
    """Neither in the Task, nor in its console (where MLflow itself prints the URI), nor in the agent's own lines."""
    place.uri = mlflow_server.replace("http://", "http://me:sesame@")
    done = place.run(SCRIPT.format(experiment="with password", run="r u n"))
    assert done.code == 0, done.stderr
    client = MlflowClient(mlflow_server)
    (run,) = client.search_runs([client.get_experiment_by_name("with password").experiment_id])
    task = ended(server, run.info.run_id)
    assert properties(task)["mlflow_tracking_uri"] == mlflow_server
    assert "sesame" not in repr(task)
    assert not [line for line in done.agent_lines if "sesame" in line]
    assert "sesame" not in server.console(task["id"])


def test_the_address_of_the_ui_can_be_set(server: ClearMLServer, run_there: Any) -> None:
    """`AUTOINSTRUMENT_MLFLOW_UI` counts where the UI is not at the tracking URI."""
    run, _ = run_there("ui elsewhere", AUTOINSTRUMENT_MLFLOW_UI="https://mlflow.example.com/ui/")
    url = properties(ended(server, run.info.run_id))["mlflow_run_url"]
    assert url == f"https://mlflow.example.com/ui/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"


@pytest.mark.parametrize(
    ("experiment", "run_name", "environ", "project", "name"),
    [
        ("a team/b/c", "x", {}, "a team/b__/c__", "x__"),
        ("deep", "run one", {"AUTOINSTRUMENT_PROJECT": "ml/{experiment}/{script}"}, "ml_/deep/train", "run one"),
        ("plain", "x", {"AUTOINSTRUMENT_TASK": "{experiment}: {run_name} {script}"}, "plain", "plain: x train"),
        ("/slashes//", "Grüße 日本語", {}, "slashes", "Grüße 日本語"),
    ],
)
def test_project_and_task_are_named_by_the_templates(
    place: Place, server: ClearMLServer, experiment: str, run_name: str, environ: Any, project: str, name: str
) -> None:
    """Slashes nest projects; names that ClearML refuses are made longer, and the original is kept."""
    done = place.run(SCRIPT.format(experiment=experiment, run=run_name), **environ)
    assert done.code == 0, done.stderr
    run = place.the_run()
    task = ended(server, run.info.run_id)
    assert task["name"] == name
    assert server.project_name(task["project"]) == project
    assert properties(task)["mlflow_experiment"] == experiment
    assert name == run_name or environ or properties(task)["mlflow_run_name"] == run_name


def test_the_default_store_of_a_working_directory_is_named_absolutely(place: Place, server: ClearMLServer) -> None:
    """`sync` runs elsewhere; a relative URI would be another store there."""
    place.uri = "sqlite:///local.db"
    (place.root / "mlflow.db").rename(place.folder / "local.db")
    assert place.run(SCRIPT.format(experiment="relative", run="relative")).code == 0
    place.uri = f"sqlite:///{place.folder / 'local.db'}"
    task = ended(server, place.the_run().info.run_id)
    assert properties(task)["mlflow_tracking_uri"] == place.uri


def test_modules_and_commands_are_entry_points(place: Place, server: ClearMLServer) -> None:
    """`python -m package.train` and `python -c …` are captured as what they are."""
    place.write("pkg/__init__.py", "")
    done = place.run(SCRIPT.format(experiment="entry", run="module"), name="pkg/train.py", command=["-m", "pkg.train"])
    assert done.code == 0, done.stderr
    code = SCRIPT.format(experiment="entry", run="command")
    assert place.run("", command=["-c", code]).code == 0
    module, command = (ended(server, place.run_named(name).info.run_id) for name in ("module", "command"))
    assert "pkg.train" in module["script"]["entry_point"] or "start_run" in module["script"]["diff"]
    assert code in command["script"]["diff"]


def test_a_short_script_is_captured_as_a_script(place: Place, server: ClearMLServer) -> None:
    """Python takes `__file__` away from `__main__` as soon as the script has run (seen in 3.10 to 3.13)."""
    for number in range(3):
        script = "import mlflow\nmlflow.start_run()\n"
        assert place.run(script, name=f"short{number}.py").code == 0
    for run in place.mlflow_runs():
        task = ended(server, run.info.run_id)
        assert task["script"]["entry_point"] in ("short0.py", "short1.py", "short2.py")
        assert task["script"]["diff"] == script


NOTED = """
import time
import mlflow
from mlflow.tracking import MlflowClient

with mlflow.start_run(run_name="noted", description="a note") as run:
    mlflow.log_metric("loss", 1.0)
    until = time.monotonic() + 180
    while "[ClearML Task]" not in MlflowClient().get_run(run.info.run_id).data.tags["mlflow.note.content"]:
        assert time.monotonic() < until
        time.sleep(0.1)
    mlflow.set_tag("mlflow.note.content", "another note")
"""


def test_the_description_leads_to_the_task(server: ClearMLServer, place: Place) -> None:
    """While the run is running, and after it was changed; the Task's comment is the note alone."""
    done = place.run(NOTED, AUTOINSTRUMENT_NOTE="on")
    assert done.code == 0, done.stderr
    run = place.the_run()
    task = ended(server, run.info.run_id)
    assert run.data.tags["mlflow.note.content"] == f"another note\n\n[ClearML Task]({task_page(server, task)})"
    assert task["comment"] == "another note"
