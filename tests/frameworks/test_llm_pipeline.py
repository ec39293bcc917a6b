"""The project in `examples/llm` that docs/hybrid.md shows: `poetry poe`, TRL, PEFT, the registry, an evaluation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run

from autoinstrument.scrubber import hide_named
from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import (
    Place,
    ended,
    link_tags,
    properties,
    scalars,
    section,
    single_values,
    task_page,
)
from tests.end_to_end.processes import Finished, Started
from tests.end_to_end.remote import Remote, remote_of
from tests.shared import Shared
from tests.startup.environment import ROOT

EXPERIMENT, MODEL = "LLM-Engineers-Handbook", "handbook-llm"
TRACES = "MLflow traces"
PATH_OF_CHECKOUT = '[tool.poetry.dependencies]\nautoinstrument = { path = "../.." }'


@pytest.fixture(scope="session")
def poetry(shared: Shared) -> Path:
    """The command `poetry` with the plug-in for `poetry poe`, in a separate environment."""

    def install(folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        pip = [sys.executable, "-m", "pip", "-q", "--python", str(folder / "bin" / "python")]
        subprocess.run([*pip, "install", "poetry>=2", "poethepoet[poetry-plugin]>=0.35"], check=True)

    return shared.folder("poetry", install) / "bin" / "poetry"


@pytest.fixture
def project(own_place: Place, own_server: ClearMLServer, mlflow_server: str, clearml_agent: Path) -> Iterator[Remote]:
    """A copy of the project in a repository, and an agent."""
    place = own_place
    place.uri = mlflow_server
    place.environ |= {"HF_HUB_OFFLINE": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    shutil.copytree(ROOT / "examples" / "llm", place.folder, dirs_exist_ok=True)
    settings = (place.folder / "pyproject.toml").read_text()
    assert PATH_OF_CHECKOUT in settings
    (place.folder / "pyproject.toml").write_text(settings.replace(PATH_OF_CHECKOUT, ""))
    with remote_of(place, own_server, clearml_agent) as remote:
        remote.commit({})
        (place.folder / ".venv").symlink_to(Path(place.python).parent.parent)  # what `poetry install` makes
        yield remote


def poe(place: Place, poetry: Path, *arguments: str) -> Finished:
    """Run `poetry poe` in the project's folder; the project itself switches the agent on."""
    environ = place.environment(PATH=os.pathsep.join([str(poetry.parent), os.environ["PATH"]]))
    del environ["AUTOINSTRUMENT_ENABLED"]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return Started(subprocess.Popen([poetry, "poe", *arguments], cwd=place.folder, env=environ, **pipes)).finish()


def check(remote: Remote, run: Run, task: dict[str, Any], version: int) -> None:
    """Compare a run of the pipeline with its Task, page by page as docs/hybrid.md lists them."""
    place, server = remote.place, remote.server
    assert (task["name"], server.project_name(task["project"])) == ("Training", EXPERIMENT)
    assert (task["status"], task["type"]) == ("completed", "training"), server.console(task["id"])
    script = task["script"]
    assert (script["entry_point"], script["working_dir"], script["diff"]) == ("-m tools.run", ".", "")
    assert script["version_num"] == place.git("rev-parse", "HEAD")
    packages = {line.partition("==")[0] for line in script["requirements"]["pip"].splitlines()}
    assert {"datasets", "mlflow", "peft", "torch", "transformers", "trl", "autoinstrument"} <= packages
    assert section(task, "MLflow") == {key: hide_named(key, value) for key, value in run.data.params.items()}
    drawn = scalars(server, task["id"])
    assert {key: point for key, point in drawn.items() if not key[0].startswith(TRACES)} == place.points(
        run.info.run_id
    )
    assert {step for (key, step) in drawn if key == f"{TRACES}/latency (ms)"} == {*range(1, 9)}
    assert {("loss", 3), ("mean_token_accuracy", 3)} <= scalars(server, task["id"]).keys()
    scores = {key: value for key, value in run.data.metrics.items() if key.endswith("/mean")}
    assert scores.keys() == {"word_overlap/mean", "exact_match/mean"}
    assert scores.items() <= single_values(server, task["id"]).items()
    assert '"name": "questions"' in task["configuration"]["MLflow datasets"]["value"]
    assert {"MLflow run", "MLflow traces", "MLflow trace table"} <= {
        entry["key"] for entry in task["execution"]["artifacts"]
    }
    assert properties(task)["mlflow_traces"] == "8"
    (output,) = task["models"]["output"]
    metadata = {key: item["value"] for key, item in server.state.models[output["model"]]["metadata"].items()}
    assert (metadata["mlflow_registered_model"], metadata["mlflow_version"]) == (MODEL, str(version))
    console = server.console(task["id"])
    assert "'train_loss': " in console
    assert "Evaluation completed" in console
    assert link_tags(run)["task_url"] == task_page(server, task)
    assert link_tags(run)["state"] == "synced"


@pytest.mark.slow
def test_train_register_and_evaluate_then_again_by_an_agent(project: Remote, poetry: Path) -> None:
    """The Task has all of the run, and its clone is trained by an agent with another learning rate."""
    place = project.place
    done = poe(place, poetry, "run-training-pipeline", "--max-steps", "3")
    assert done.code == 0, done.stderr
    (run,) = project.runs(EXPERIMENT)
    task = ended(project.server, run.info.run_id)
    assert [line for line in done.agent_lines if task["id"] in line] == done.agent_lines
    assert len(done.agent_lines) == 1
    arguments = {"run_training": "True", "learning_rate": "0.02", "max_steps": "3", "lora_rank": "8"}
    assert section(task, "Args") == arguments
    check(project, run, task, version=1)

    clone = project.ended(project.clone(task, Args__learning_rate="0.05"))

    again = project.run(clone["id"])
    assert section(clone, "Args") == {**arguments, "learning_rate": "0.05"}
    assert (run.data.params["learning_rate"], again.data.params["learning_rate"]) == ("0.02", "0.05")
    assert link_tags(again)["changed"] == "Args/learning_rate: 0.02 -> 0.05"
    assert link_tags(again)["cloned_from_run"] == run.info.run_id
    check(project, again, clone, version=2)
    compared = place.command("verify", run.info.run_id, again.info.run_id)
    assert (compared.code, compared.stdout) == (0, "2 the same, 0 different\n"), compared
