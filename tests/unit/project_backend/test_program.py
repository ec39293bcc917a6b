"""The program that a ClearML agent runs for a project: its command, with the Task's parameters, in the right run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from autoinstrument.project_backend import program

MLPROJECT = """
entry_points:
  main:
    parameters: {alpha: float}
    command: "echo {alpha} $MLFLOW_RUN_ID $MLFLOW_EXPERIMENT_ID > seen"
  ends: {command: "sh -c 'exit 3'"}
  killed: {command: "kill -9 $$; echo"}
"""


@pytest.fixture
def task(client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The Task of an agent that runs this process."""
    (tmp_path / "MLproject").write_text(MLPROJECT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mlflow.tracking.fluent._active_experiment_id", None)  # `set_experiment` keeps it
    for name in ("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "AUTOINSTRUMENT_ENABLED"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("CLEARML_TASK_ID", "t")
    monkeypatch.setenv("AUTOINSTRUMENT_ENABLED", "0")
    return {"task": "t", "run": "", "settings": {}, "sections": {"Args": {"alpha": "0.7"}}}


def run(task: dict[str, Any], monkeypatch: pytest.MonkeyPatch, entry_point: str = "main") -> int:
    monkeypatch.setenv("AUTOINSTRUMENT_CLONE", json.dumps(task))
    monkeypatch.setattr("sys.argv", ["project_backend", entry_point])
    return program.main()


def test_the_run_that_waits_for_it(
    task: dict[str, Any], client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = client.create_run(client.create_experiment("wine")).info.run_id
    client.update_run(run_id, status="SCHEDULED")
    assert run({**task, "continues": run_id}, monkeypatch) == 0
    found = client.get_run(run_id)
    assert (tmp_path / "seen").read_text() == f"0.7 {run_id} {found.info.experiment_id}\n"
    assert found.info.status == "FINISHED"


def test_a_clone(task: dict[str, Any], client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the Task count where the agent is switched off, too."""
    del os.environ["MLFLOW_EXPERIMENT_NAME"]
    task["settings"] = {"MLFLOW_EXPERIMENT_NAME": "of the Task"}
    assert run(task, monkeypatch) == 0
    experiment = client.get_experiment_by_name("of the Task")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.data.params, found.info.status) == ({"alpha": "0.7"}, "FINISHED")
    assert found.data.tags["mlflow.project.backend"] == "clearml"


@pytest.mark.parametrize(("entry_point", "code", "status"), [("ends", 3, "FAILED"), ("killed", 137, "KILLED")])
def test_the_end_of_the_command(
    task: dict[str, Any],
    client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    entry_point: str,
    code: int,
    status: str,
) -> None:
    assert run(task, monkeypatch, entry_point) == code
    assert [run.info.status for run in client.search_runs(["0"])] == [status]


def test_without_a_task_nothing_runs(task: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the defaults of the parameters it would be another training."""
    monkeypatch.setenv("CLEARML_TASK_ID", "")
    with pytest.raises(SystemExit, match="its parameters are not known"):
        run(task, monkeypatch)
    monkeypatch.setattr("sys.argv", ["project_backend"])
    with pytest.raises(SystemExit, match="usage"):
        import autoinstrument.project_backend.__main__  # noqa: F401
