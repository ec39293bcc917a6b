"""`autoinstrument remote`: the Task for its options; against the server, in this process."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from autoinstrument.clearml_api.errors import RefusedError
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.cli import remote_console
from autoinstrument.cli.remote import remote
from autoinstrument.cli.remote_task import Draft, create
from tests.clearml_server import ClearMLServer, Fault
from tests.unit.repositories import Repository
from tests.unit.repositories import git_settings as git_settings
from tests.unit.repositories import repository as repository


@pytest.fixture(autouse=True)
def here(repository: Repository, monkeypatch: pytest.MonkeyPatch, server: ClearMLServer) -> None:
    """The working copy is the working directory."""
    monkeypatch.chdir(repository.root)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)


def call(*words: str) -> Result:
    return CliRunner().invoke(remote, words)


def draft(*words: str) -> dict[str, Any]:
    """Return what would be created."""
    done = call("--dry-run", "--json", *words)
    assert done.exit_code == 0, done.output
    fields: dict[str, Any] = json.loads(done.stdout)
    return fields


def arguments(fields: dict[str, Any]) -> dict[str, str]:
    return {name: item["value"] for name, item in fields["hyperparams"].get("Args", {}).items()}


def about_the_code(stderr: str) -> list[str]:
    """Return the lines without the one about this checkout, which other machines may not be able to install."""
    return [line for line in stderr.splitlines() if not line.startswith("autoinstrument ")]


class TestCode:
    def test_uncommitted_changes_and_new_files_travel(self, repository: Repository) -> None:
        """A script that Git does not know, and files beside it, wherever the command is given; each of them once."""
        repository.write("src/pkg/train.py", "print('changed')\n")
        repository.write("fresh.py", "print('new')\n")
        repository.write("settings.yaml", "depth: 3\n")
        script = draft("--", "python", "fresh.py", "--lr", "0.1")["script"]
        assert (script["repository"], script["version_num"]) == (str(repository.remote), repository.head)
        assert script["entry_point"] == "fresh.py --lr 0.1"
        assert [line for line in script["diff"].splitlines() if line.startswith("+++")] == [
            "+++ b/src/pkg/train.py", "+++ b/fresh.py", "+++ b/settings.yaml",
        ]  # fmt: skip

    def test_a_module_of_a_src_folder_starts_here(self, repository: Repository) -> None:
        fields = draft("--", "python", "-m", "pkg.train", "--config", "configs/train.yaml")
        assert (fields["script"]["entry_point"], fields["script"]["working_dir"]) == (
            "-m pkg.train --config configs/train.yaml", "src",
        )  # fmt: skip
        assert "START_FOLDER=.\n" in fields["configuration"]["autoinstrument"]["value"]
        assert "start folder    .\n" in call("--dry-run", "--", "-m", "pkg.train").stdout
        assert "START_FOLDER" not in draft("--", "train.py")["configuration"]["autoinstrument"]["value"]

    def test_commits_that_were_never_pushed_travel_as_changes(self, repository: Repository) -> None:
        published = repository.head
        repository.git("checkout", "-q", "-b", "never-pushed")
        repository.write("train.py", "print('committed')\n")
        repository.commit()
        repository.write("src/pkg/train.py", "print('changed')\n")
        script = draft("--", "train.py")["script"]
        assert script["version_num"] == published
        assert "+print('committed')" in script["diff"]
        assert "+print('changed')" in script["diff"]

    def test_a_repository_that_was_never_pushed(self, tmp_path: Path, repository: Repository, monkeypatch: Any) -> None:
        """Its files travel with the Task."""
        other = Repository(tmp_path / "other", tmp_path / "other.git")
        other.write("train.py", "import helper\n")
        other.commit()
        other.write("helper.py", "NAME = 1\n")
        monkeypatch.chdir(other.root)
        done = call("--dry-run", "--json", "--", "train.py")
        assert about_the_code(done.stderr) == [
            f"nothing has been pushed to {other.remote}: the files of this folder travel with the Task instead",
            "the Task holds 2 files of this folder: `--dry-run --json` shows them",
        ]
        script = json.loads(done.stdout)["script"]
        assert script["repository"] == ""
        assert "FILES['helper.py']" in script["diff"]

    def test_another_repository(self, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Branch and commit are checked now, and the Task names the commit; this folder has no part in it."""
        repository.git("checkout", "-q", "-b", "dev")
        repository.write("src/requirements.txt", "numpy\n-r more.txt\n")
        repository.write("src/more.txt", "torch>=2\n")
        commit = repository.commit()
        repository.push()
        monkeypatch.chdir(tmp_path)
        words = ("--repo", str(repository.remote), "--branch", "dev", "--cwd", "src", "--", "-m", "pkg.train")
        script = draft(*words)["script"]
        expected = {
            "repository": str(repository.remote), "branch": "dev", "version_num": commit, "working_dir": "src",
            "entry_point": "-m pkg.train", "diff": "",
        }  # fmt: skip
        assert {name: script[name] for name in expected} == expected
        assert script["requirements"]["pip"].splitlines()[:2] == ["numpy", "torch>=2"]
        older = ("--repo", str(repository.remote), "--commit", "c0ffee", "--script", "train.py")
        assert "has no commit" in call("--dry-run", *older).output
        assert "has no branch none" in call("--repo", str(repository.remote), "--branch", "none", "x.py").output

    def test_a_notebook(self, repository: Repository) -> None:
        cells = [
            {"cell_type": "markdown", "source": "# text"},
            {"cell_type": "code", "source": ["import helper\n", "%time depth = 3"]},
        ]
        repository.write("explore.ipynb", json.dumps({"cells": cells, "nbformat": 4}))
        repository.write("helper.py", "NAME = 1\n")
        script = draft("--script", "explore.ipynb")["script"]
        assert script["entry_point"] == "explore.py"
        assert "+import helper\n+depth = 3\n" in script["diff"]
        assert "+++ b/helper.py" in script["diff"]


class TestFields:
    def test_arguments_by_name(self, repository: Repository) -> None:
        fields = draft("--args", "lr=0.3 name='a b'", "--args", "--depth=3", "--args", "Hydra/db/x.y=1", "train.py")
        assert arguments(fields) == {"lr": "0.3", "name": "a b", "depth": "3"}
        assert fields["hyperparams"]["Hydra"]["db/x.y"]["value"] == "1"
        assert fields["script"]["entry_point"] == "train.py"

    def test_packages_and_container(self, repository: Repository) -> None:
        repository.write("own.txt", "scikit-learn==1.5.0\n")
        words = ("--packages", "numpy 'torch>=2'", "--packages", "pandas", "--requirements", "own.txt")
        fields = draft(*words, "--container", "python:3.11", "--docker-args", "--ipc=host -v /data:/data", "train.py")
        lines = fields["script"]["requirements"]["pip"].splitlines()
        assert lines[:4] == ["numpy", "torch>=2", "pandas", "scikit-learn==1.5.0"]
        assert lines[4].startswith("autoinstrument")
        assert fields["container"] == {"image": "python:3.11", "arguments": "--ipc=host -v /data:/data"}

    def test_options_after_the_program_belong_to_it(self, repository: Repository) -> None:
        fields = draft("train.py", "--wait", "--queue", "x", "--branch=y")
        assert arguments(fields) == {"argv": "--wait --queue x --branch=y"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to queue: give a command (`-- python train.py`), `--script` or `--base-task`"),
        (
            ["--script", "train.py", "--args", "lr=1", "bs=2"],
            "give `--script` or a command, not both; arguments of `--script` are given by `--args`",
        ),
        (["--base-task", "x", "train.py"], "`--base-task` has its own program: change its arguments by `--args`"),
        (["--base-task", "x", "--cwd", "y"], "`--base-task` has its own code: it cannot be combined with `--cwd`"),
        (["--branch", "x", "train.py"], "`--branch` and `--commit` need `--repo`"),
        (["--wait", "train.py"], "`--wait` needs `--queue`, and cannot be combined with `--dry-run`"),
        (["--json", "train.py"], "`--json` can be used with `--dry-run` only"),
        (["--args", "lr=1", "--", "train.py", "x"], "give the arguments behind the program, or by `--args`, not both"),
        (["--args", "lr", "train.py"], "`--args` takes NAME=VALUE, not 'lr'"),
        (["--args", "lr='", "train.py"], '"lr=\'" is not understood: No closing quotation'),
        (
            ["--args", "api_key=sesame", "train.py"],
            "the argument api_key is a secret, which must not travel: set it on the agent's machine",
        ),
        (
            ["--docker-args", "-e API_KEY=sesame", "train.py"],
            "`--docker-args` holds a secret, which must not travel: set it on the agent's machine",
        ),
        (["--requirements", "none.txt", "train.py"], "the requirements cannot be read: [Errno 2] No such file or"),
        (["--cwd", "none", "train.py"], "there is no folder none"),
        (["train.ipynb", "--lr"], "a notebook takes no arguments: have its cells read variables"),
        (["train.ipynb"], "train.ipynb cannot be read as a notebook: Expecting value: line 1 column 1 (char 0)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(repository: Repository, words: list[str], message: str) -> None:
    repository.write("train.ipynb", "")
    done = call(*words)
    assert (done.exit_code, done.output.splitlines()[-1][: len(message) + 7]) == (2, f"Error: {message}")


def test_a_dry_run_for_a_person(repository: Repository, server: ClearMLServer) -> None:
    repository.write("requirements.txt", "mlflow==3.1.0\n")
    done = call("--dry-run", "--queue", "gpu", "--project", "team/wine", "--", "train.py", "--lr", "0.1")
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert {name: rows[name] for name in ("project", "name", "queue", "Args/argv")} == {
        "project": "team/wine", "name": "train", "queue": "gpu", "Args/argv": "--lr 0.1",
    }  # fmt: skip
    assert rows["packages"].startswith("mlflow 3.1.0, autoinstrument ")
    assert not server.tasks


class TestBaseTask:
    @pytest.fixture
    def base(self, repository: Repository) -> dict[str, Any]:
        """A Task that an agent has run."""
        done = call(
            "--queue", "gpu", "--name", "base", "--packages", "numpy==1", "--args", "lr=0.1 depth=3", "train.py"
        )
        task_id = done.stdout.split()[0]
        Session().call("tasks.edit", task=task_id, force=True, container={"image": "python:3.10", "arguments": "--rm"})
        task: dict[str, Any] = Session().call("tasks.get_by_id", task=task_id)["task"]
        script = task["script"]
        asked = script["requirements"]["pip"]
        script["requirements"] = {"pip": "numpy==1\nmuch==2\n", "org_pip": asked}
        Session().call("tasks.edit", task=task_id, force=True, script=script)
        return {**task, "asked": asked}

    def test_a_clone_with_changes(self, base: dict[str, Any], server: ClearMLServer) -> None:
        words = ("--base-task", base["id"], "--args", "lr=0.5", "--container", "python:3.12", "--tag", "again")
        done = call("--queue", "gpu", *words)
        assert done.exit_code == 0, done.output
        clone = server.task(done.stdout.split()[0])
        assert arguments(clone) == {"lr": "0.5", "depth": "3"}
        assert (clone["parent"], clone["status"], clone["name"]) == (base["id"], "queued", "Clone of base")
        assert clone["container"] == {"image": "python:3.12", "arguments": "--rm"}
        assert sorted(clone["tags"]) == ["again", "mlflow"]
        assert clone["script"]["requirements"]["pip"] == base["asked"]
        assert clone["script"]["entry_point"] == "train.py"
        assert clone["project"] == base["project"]

    def test_a_draft_in_another_project_with_other_packages(self, base: dict[str, Any], server: ClearMLServer) -> None:
        done = call("--base-task", base["id"], "--packages", "numpy==2", "--project", "team/other", "--name", "mine")
        clone = server.task(done.stdout.split()[0])
        assert done.stdout.split()[1:4] == ["is", "a", "draft:"]
        assert (clone["status"], clone["name"]) == ("created", "mine")
        assert clone["script"]["requirements"]["pip"].startswith("numpy==2\nautoinstrument")
        assert clone["project"] != base["project"]

    def test_arguments_that_no_parser_has_read(self, base: dict[str, Any]) -> None:
        words = call("--queue", "gpu", "--", "train.py", "--lr", "1").stdout.split()[0]
        assert "no parser has read the arguments" in call("--base-task", words, "--args", "lr=2").output
        assert arguments(draft("--base-task", words, "--args", "argv='--lr 2'")) == {"argv": "--lr 2"}

    def test_changes_that_are_refused_leave_no_clone(self, base: dict[str, Any], server: ClearMLServer) -> None:
        server.faults.add(Fault("tasks.edit", status=413))
        with pytest.raises(RefusedError):
            create(Draft("", {"name": "mine", "tags": [], "hyperparams": {}}, base["id"]), Tasks(Session()))
        assert [task["id"] for task in server.tasks] == [base["id"]]

    def test_a_queue_that_is_refused_leaves_no_clone(self, base: dict[str, Any], server: ClearMLServer) -> None:
        server.faults.add(Fault("tasks.enqueue", status=413))
        done = call("--queue", "gpu", "--base-task", base["id"])
        assert (done.exit_code, done.stderr.splitlines()[-1][:38]) == (1, "nothing was queued: tasks.enqueue: 413")
        assert [task["id"] for task in server.tasks] == [base["id"]]


def test_waiting_prints_only_the_console_on_stdout(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(_: float) -> None:
        (task,) = Session().call("tasks.get_all")["tasks"]
        Session().call("tasks.started", task=task["id"], force=True)
        Session().call("tasks.failed", task=task["id"], status_reason="worker execution exit code 3", force=True)

    monkeypatch.setattr(remote_console, "time", SimpleNamespace(sleep=sleep))
    done = call("--queue", "gpu", "--wait", "train.py")
    assert (done.exit_code, done.stdout) == (3, "")
    assert [line.partition(" gpu ")[0] for line in about_the_code(done.stderr)[1:]] == [
        "no agent serves the queue", "the Task has failed: worker execution exit code 3",
    ]  # fmt: skip
