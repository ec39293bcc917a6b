"""`autoinstrument reproduce`: what it makes, prints and refuses; against the server, in this process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from mlflow.tracking import MlflowClient

from autoinstrument.clearml_api.session import Session
from autoinstrument.cli.reproduce import reproduce
from autoinstrument.mlflow_store.runs import default_tracking_uri
from autoinstrument.mlflow_store.store_errors import shown
from tests.clearml_server import ClearMLServer
from tests.unit.repositories import Repository
from tests.unit.repositories import git_settings as git_settings
from tests.unit.repositories import repository as repository

SCRIPT = "import os, sys\nprint(*sys.argv[1:], os.environ.get('AUTOINSTRUMENT_ENABLED'))\nsys.exit(3)\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("AUTOINSTRUMENT_ENABLED", raising=False)
    return folder


@pytest.fixture
def task(server: ClearMLServer) -> str:
    """A Task that holds its own script."""
    project = Session().call("projects.create", name="team/wine")["id"]
    script = {"entry_point": "train.py --lr 0.1", "diff": SCRIPT, "binary": "python3.11", "working_dir": "."}
    items = {"Args": {"argv": {"section": "Args", "name": "argv", "value": "--lr 0.1"}}}
    objects = {"autoinstrument": {"name": "autoinstrument", "value": "MLFLOW_EXPERIMENT_NAME=wine\n"}}
    body: dict[str, Any] = {"script": script, "hyperparams": items, "configuration": objects}
    return str(Session().call("tasks.create", name="bold ant/2", project=project, type="training", **body)["id"])


def call(*words: str) -> Result:
    return CliRunner().invoke(reproduce, words, obj=os.environ.pop("AUTOINSTRUMENT_ENABLED", None))  # as `main` does


def test_the_folder(task: str, here: Path) -> None:
    done = call(task, "--python", sys.executable)
    name = f"bold-ant-2-{task[:8]}"
    assert (done.exit_code, done.stdout) == (0, f"{name}/run.sh runs: python train.py --lr 0.1\n")
    assert done.stderr.splitlines() == [
        "code: from the Task",
        "note: the Task names no packages: the environment is empty",
    ]
    assert (here / name / "code/train.py").read_text() == SCRIPT
    assert "export MLFLOW_EXPERIMENT_NAME=wine" in (here / name / "run.sh").read_text()
    again = call(task, "--python", sys.executable)
    assert (again.exit_code, again.stderr) == (
        1, f"Error: {name} exists: start it from there, or name another `--folder`\n"
    )  # fmt: skip


@pytest.mark.parametrize("switch", [None, "0"])
def test_the_program_is_started(
    task: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], switch: str | None
) -> None:
    """Its exit code is the command's; its run is mirrored, unless the switch is off."""
    if switch:
        monkeypatch.setenv("AUTOINSTRUMENT_ENABLED", switch)
    done = call(task, "--run", "--python", sys.executable, "--folder", "again")
    assert (done.exit_code, done.stdout) == (3, "")
    assert capfd.readouterr().out == f"--lr 0.1 {switch or 1}\n"


def test_an_environment_is_made(task: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    assert call(task, "--folder", "x").exit_code == 0
    assert "/.venv/bin/python train.py" in (here / "x/run.sh").read_text()
    assert (here / "x/.venv/bin/python").exists()


def test_a_module_of_a_src_folder(
    task: str, repository: Repository, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It starts where it was started, and finds its package; relative paths are those of the command line."""
    repository.write("src/pkg/train.py", "import sys\nfrom pkg import other\nprint(open(sys.argv[1]).read())\n")
    repository.write("src/pkg/other.py", "")
    repository.write("configs/train.txt", "from the root")
    repository.commit()
    repository.push()
    script = {"repository": str(repository.remote), "entry_point": "-m pkg.train", "working_dir": "src", "diff": ""}
    argv = {"section": "Args", "name": "argv", "value": "configs/train.txt"}
    settings = {"name": "autoinstrument", "value": "START_FOLDER=.\n"}
    Session().call(
        "tasks.edit", task=task, script=script, hyperparams={"Args": {"argv": argv}},
        configuration={"autoinstrument": settings},
    )  # fmt: skip
    done = call(task, "--run", "--python", sys.executable, "--folder", "again")
    assert (done.exit_code, capfd.readouterr().out) == (0, "from the root\n"), done.stderr
    assert "START_FOLDER" not in (here / "again/run.sh").read_text()


def test_nothing_is_left_where_the_code_cannot_be_made(task: str, here: Path) -> None:
    Session().call("tasks.edit", task=task, script={"repository": "/nowhere/x.git", "entry_point": "train.py"})
    (here / "own").mkdir()
    for words in (["--folder", "own"], []):
        done = call(task, *words)
        assert done.exit_code == 1
        assert "the repository cannot be cloned: fatal: " in done.stderr
    assert [file.name for file in here.rglob("*")] == ["own"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nothing"], 1, "there is no run 'nothing' in {store}; `autoinstrument status` lists runs"),
        (["old"], 1, "old has no Task: `autoinstrument sync --run {run}` makes one"),
        (["{task}", "--python", "python-of-nobody"], 2, "there is no program 'python-of-nobody'"),
    ],
)
def test_errors_of_the_command(client: MlflowClient, task: str, words: list[str], code: int, message: str) -> None:
    run_id = client.create_run("0", run_name="old").info.run_id
    done = call(*(word.format(task=task) for word in words))
    assert (done.exit_code, done.output.splitlines()[-1]) == (
        code,
        f"Error: {message.format(run=run_id, store=shown(default_tracking_uri()))}",
    )


def test_a_task_without_code_and_no_server(task: str, server: ClearMLServer) -> None:
    Session().call("tasks.edit", task=task, script={"entry_point": ""})
    assert call(task).output == "Error: the Task names no program: it was made without its code\n"
    server.stop()
    assert call(task).exit_code == 1
