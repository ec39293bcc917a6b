"""A repository that is reached by ssh with a deploy key, with a submodule, and with files in Git LFS."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, task_of
from tests.end_to_end.remote import remote_of

pytestmark = pytest.mark.slow

SCRIPT = """
import pathlib
import mlflow
from lib import part
from helper import NAME

with mlflow.start_run():
    mlflow.log_params({"part": part.NAME, "helper": NAME, "data": pathlib.Path("data.csv").read_text().strip()})
"""


def test_a_private_repository(
    own_server: ClearMLServer, own_place: Place, clearml_agent: Path, ssh: tuple[str, str]
) -> None:
    """The changes that no commit has are those of the code, in the submodule, too. A file whose changed content only
    this machine's Git LFS has is as it was committed: with it, `git apply` would refuse all of them."""
    address, own_place.environ["GIT_SSH_COMMAND"] = ssh
    with remote_of(own_place, own_server, clearml_agent) as remote:
        fill(own_place, address)
        done = own_place.run("", command=["train.py"], MLFLOW_EXPERIMENT_NAME="private")
        assert done.code == 0, done.stderr
        run = own_place.the_run()
        assert run.data.params == {"part": "changed", "helper": "new", "data": "3,4"}
        task = task_of(own_server, run.info.run_id)
        assert task["script"]["repository"] == f"{address}{own_place.root}/remote.git"
        assert "# not included, its content is in Git LFS: a/data.csv b/data.csv" in task["script"]["diff"]

        (remote.home / ".gitconfig").write_text((own_place.root / "user" / ".gitconfig").read_text())
        clone = remote.clone(task)
        printed = remote.execute(clone)
        assert remote.run(clone).data.params == {"part": "changed", "helper": "new", "data": "1,2"}, printed


def fill(place: Place, address: str) -> None:
    """Push a repository with a submodule and a file in Git LFS, and change all of it afterwards."""
    place.git("lfs", "install", "--skip-repo")
    place.git("remote", "set-url", "origin", f"{address}{place.root}/remote.git")
    part = place.root / "part.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", part], check=True)
    place.git("clone", "-q", f"{address}{part}", str(place.root / "part"))
    (place.root / "part" / "part.py").write_text("NAME = 'committed'\n")
    for words in (("add", "-A"), ("commit", "-q", "-m", "Part"), ("push", "-q", "origin", "HEAD:main")):
        place.git("-C", str(place.root / "part"), *words)

    place.git("submodule", "-q", "add", f"{address}{part}", "lib")
    place.git("lfs", "track", "*.csv")
    place.write(".lfsconfig", f"[lfs]\n\turl = file://{place.root}/remote.git\n")
    place.write("train.py", SCRIPT)
    place.write("data.csv", "1,2\n")
    place.git("add", "-A")
    place.git("commit", "-q", "-m", "Work")
    place.git("push", "-q", "-u", "origin", "HEAD")
    place.write("lib/part.py", "NAME = 'changed'\n")
    place.write("helper.py", "NAME = 'new'\n")
    place.write("data.csv", "3,4\n")
