"""`mlflow.projects.run(backend="clearml")`: the run in MLflow, refusals, and projects that no agent runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import ExecutionException
from mlflow.tracking import MlflowClient

from autoinstrument.agent import process_agent
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.project_backend.backend import ClearMLBackend
from autoinstrument.project_backend.submission import ClearMLSideError, ask
from autoinstrument.project_backend.submitted_run import ClearMLSubmittedRun
from autoinstrument.project_backend.task_process import TAKEN_AWAY
from tests.clearml_server import ClearMLServer, Fault
from tests.unit.repositories import Repository

MLPROJECT = """
name: wine
entry_points:
  main:
    parameters:
      alpha: {type: float, default: 0.5}
      data: string
    command: "python train.py {alpha} {data}"
"""


@pytest.fixture
def project(server: ClearMLServer, client: MlflowClient, tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "MLproject").write_text(MLPROJECT)
    return folder


def run(folder: Path | str, experiment: str = "wine", **more: Any) -> Any:
    return mlflow.projects.run(
        str(folder), backend="clearml", experiment_name=experiment, synchronous=False,
        **{"parameters": {"data": "d.csv"}, **more},
    )  # fmt: skip


def runs(client: MlflowClient) -> list[Any]:
    return list(client.search_runs([experiment.experiment_id for experiment in client.search_experiments()]))


@pytest.mark.interpreter
def test_a_run_that_waits_and_is_cancelled(server: ClearMLServer, client: MlflowClient, project: Path) -> None:
    """MLflow finds the backend by the entry point of this package."""
    with mlflow.start_run(experiment_id=client.create_experiment("outer")) as outer:
        parent = Tasks(Session()).create("project", {"name": "outer", "type": "training"}).id
        client.set_tag(outer.info.run_id, "clearml.task_id", parent)
        submitted = run(project, run_name="named")
    found = client.get_run(submitted.run_id)
    assert (found.info.status, found.info.run_name) == ("SCHEDULED", "named")
    assert found.data.params == {"alpha": "0.5", "data": "d.csv"}
    assert found.data.tags["clearml.task_id"] == submitted.task_id
    assert found.data.tags["clearml.task_url"] == submitted.task_url
    assert found.data.tags["mlflow.project.backend"] == "clearml"
    task = server.task(submitted.task_id)
    assert (task["status"], task["parent"]) == ("queued", parent)
    assert submitted.get_status() == "SCHEDULED"
    submitted.cancel()
    assert client.get_run(submitted.run_id).info.status == "KILLED"
    assert server.task(submitted.task_id)["status"] == "stopped"
    assert submitted.wait() is False


@pytest.mark.interpreter
def test_a_version_of_a_git_repository(
    server: ClearMLServer, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Task has the commit of the version, and the project's folder; nothing is changed there."""
    made = Repository(tmp_path / "made", tmp_path / "remote.git")
    config = tmp_path / "gitconfig"
    config.write_text(f'[url "{made.remote}"]\n\tinsteadOf = https://git.example/wine\n[user]\n\tname=A\n\temail=a@b\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    made.write("training/MLproject", MLPROJECT)
    commit = made.commit()
    made.git("tag", "v2")
    made.write("training/MLproject", "changed later")
    made.commit()
    made.git("push", "-q", "origin", "HEAD", "v2")
    submitted = run("https://git.example/wine#training", version="v2")
    script = server.task(submitted.task_id)["script"]
    assert (script["repository"], script["version_num"]) == (str(made.remote), commit)
    assert (script["working_dir"], script["diff"]) == ("training", "")
    assert script["entry_point"] == "-m autoinstrument.project_backend main"
    assert client.get_run(submitted.run_id).data.tags["mlflow.source.name"] == "https://git.example/wine#training"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"backend_config": {"qeue": "x"}}, "has no 'qeue'"),
        ({"parameters": {"data": "d", "api_key": "sesame"}}, "the parameter 'api_key' is a secret"),
        ({"parameters": {}}, "missing parameters: 'data'"),
        ({"entry_point": "none"}, "Could not find none"),
    ],
)
def test_a_refused_project_makes_no_run(
    server: ClearMLServer, client: MlflowClient, project: Path, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExecutionException, match=message):
        run(project, **more)
    assert runs(client) == server.tasks == []


@pytest.mark.interpreter
def test_a_queue_that_is_refused(server: ClearMLServer, client: MlflowClient, project: Path) -> None:
    server.faults.add(Fault("tasks.enqueue", status=413))
    with pytest.raises(ExecutionException, match=r"nothing was queued: tasks\.enqueue: 413"):
        run(project)
    assert [run.info.status for run in runs(client)] == ["FAILED"]
    assert server.tasks == []


@pytest.mark.interpreter
def test_a_process_that_is_mirrored_leaves_the_run_alone(
    client: MlflowClient, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[str] = []

    class Agent:
        leave_alone = staticmethod(left.append)

    monkeypatch.setattr(process_agent, "_agent", Agent())
    submitted = run(project)
    assert left == [submitted.run_id]


@pytest.mark.parametrize(
    ("task", "held", "expected"),
    [
        ("failed", "SCHEDULED", "FAILED"),  # the environment could not be made
        ("stopped", "SCHEDULED", "KILLED"),
        (TAKEN_AWAY, "SCHEDULED", "KILLED"),
        ("stopped", "FINISHED", "FINISHED"),  # it was stopped too late
        ("in_progress", "RUNNING", "RUNNING"),
    ],
)
def test_a_run_that_no_program_ends(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, task: str, held: str, expected: str
) -> None:
    run_id = client.create_run("0").info.run_id
    client.update_run(run_id, status=held)
    module = "autoinstrument.project_backend.submitted_run"
    monkeypatch.setattr(f"{module}.ask", lambda *_: {"status": task})
    ClearMLSubmittedRun(run_id, "t", "", client.tracking_uri).get_status()
    assert client.get_run(run_id).info.status == expected


@pytest.mark.interpreter
def test_errors_of_the_process_that_talks_to_clearml(server: ClearMLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.faults.add(Fault("tasks.get_by_id", status=401, times=9))
    with pytest.raises(ClearMLSideError, match="401"):
        ask("status", {"task": "x", "run": "y"})


@pytest.mark.interpreter
def test_the_backend_is_loaded_only_if_it_is_asked_for() -> None:
    assert ClearMLBackend.run.__doc__
    import subprocess

    code = (
        "import sys, mlflow, mlflow.projects; print([name for name in sys.modules if 'autoinstrument.project' in name])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
