"""Secrets planted wherever a training may have some are in no request, no file and no output of a command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mlflow.entities import Run

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags, properties
from tests.end_to_end.processes import Finished, wait_for

SECRET = re.compile(rb"sesame\d+")

SCRIPT = """
import argparse, os, sys
import mlflow

parser = argparse.ArgumentParser()
parser.add_argument("--token")
parser.add_argument("--password")
parser.add_argument("--database")
parser.add_argument("--set", action="append")
parser.add_argument("--lr", type=float)
arguments = parser.parse_args()
with mlflow.start_run(run_name="secretive", description=f"see {arguments.database}") as run:
    mlflow.log_params({key: str(value) for key, value in vars(arguments).items()})
    mlflow.set_tags({"mlflow.source.git.repoURL": os.environ["REPOSITORY"], "hf_token": arguments.token})
    mlflow.log_metric("loss", 1)
    print("connecting to", arguments.database, flush=True)
    print("https://host/a?X-Amz-Signature=" + os.environ["SIGNATURE"] + "&v=1", file=sys.stderr)
    raise RuntimeError(f"cannot connect to {arguments.database}")
"""

ARGUMENTS = (
    "--token", "sesame1", "--password=sesame2", "--database", "postgresql://user:sesame3@db/x?sslpassword=sesame4",
    "--set", "db.password=sesame5", "--lr", "0.1",
)  # fmt: skip
ENVIRON = {
    "REPOSITORY": "https://user:sesame6@git.example.com/a.git",
    "SIGNATURE": "sesame7",
    "WANDB_API_KEY": "sesame8",
    "AWS_SECRET_ACCESS_KEY": "sesame9",
    "AUTOINSTRUMENT_MLFLOW_UI": "http://user:sesame10@ui.example.com",
}


@pytest.fixture
def planted(own_place: Place, mlflow_server: str) -> Place:
    """A place with a repository and a tracking server, both with credentials in their addresses."""
    own_place.git("init", "-q")
    own_place.git("remote", "add", "origin", "https://sesame11abcdefghijkl@git.example.com/team/project.git")
    own_place.write("train.py", SCRIPT)
    own_place.git("add", ".")
    own_place.git("commit", "-qm", "first")
    own_place.uri = mlflow_server.replace("http://", "http://user:sesame12@")
    own_place.environ.update(ENVIRON)
    return own_place


def leaks(place: Place, server: ClearMLServer, *done: Finished) -> list[str]:
    """Return where a secret was found, with what stands around it."""
    places = {f"request {request.endpoint}": repr((request.path, request.body)) for request in server.requests}
    places |= {f"command {number}": one.stdout + one.stderr for number, one in enumerate(done)}
    found = [f"{where}: {match}" for where, text in places.items() for match in _around(text.encode())]
    for folder in (place.home, place.temporary):
        for path in filter(Path.is_file, folder.rglob("*")):
            found += [f"{path.name}: {match}" for match in _around(path.read_bytes())]
    found += [f"uploaded {name}: {match}" for name, content in server.files.items() for match in _around(content)]
    return found


def _around(data: bytes) -> list[bytes]:
    return [data[max(0, match.start() - 60) : match.end() + 10] for match in SECRET.finditer(data)]


def commands(place: Place) -> list[Finished]:
    """Run the commands that look at runs and environment."""
    switch = {"AUTOINSTRUMENT_ENABLED": "1", "AUTOINSTRUMENT_HOME": str(place.home)}
    words = (["doctor", "--json"], ["status", "--json"], ["explain", "--json"])
    return [place.command(*line, **switch) for line in words]


def linked(place: Place, server: ClearMLServer) -> Run:
    """Return the run that is linked to a Task of this server; MLflow's has other tests' runs, too."""
    tasks = {task["id"] for task in server.tasks}
    (run,) = [run for run in place.mlflow_runs() if link_tags(run).get("task_id") in tasks]
    return run


def test_live(planted: Place, own_server: ClearMLServer) -> None:
    done = planted.run("", *ARGUMENTS, command=["train.py"])
    assert done.code == 1
    run = linked(planted, own_server)
    task = ended(own_server, run.info.run_id)
    wait_for(lambda: not planted.left_behind())
    outcome = done._replace(stdout="", stderr="\n".join(done.agent_lines))  # what the script prints itself is its own
    assert leaks(planted, own_server, outcome, *commands(planted)) == []
    assert task["script"]["repository"] == "https://git.example.com/team/project.git"
    assert task["hyperparams"]["Args"]["lr"]["value"] == "0.1", "a value that is not secret is there"
    assert task["hyperparams"]["MLflow"]["lr"]["value"] == "0.1"
    assert "cannot connect to postgresql://user:********@db" in task["status_message"]
    assert "\n" not in task["status_message"]
    assert properties(task)["mlflow_run_url"].startswith("http://ui.example.com/")
    assert "connecting to postgresql://user:********@db" in own_server.console(task["id"])


def test_recorded_and_synced(planted: Place, own_server: ClearMLServer) -> None:
    own_server.close()
    done = planted.run("", *ARGUMENTS, command=["train.py"])
    assert planted.journals()
    wait_for(lambda: not planted.left_behind())
    outcome = done._replace(stdout="", stderr="\n".join(done.agent_lines))
    looked = commands(planted)
    assert leaks(planted, own_server, outcome, *looked) == []
    own_server.start()
    synced = planted.command("sync", AUTOINSTRUMENT_HOME=str(planted.home))
    assert synced.code == 0, synced.stdout
    assert leaks(planted, own_server, synced) == []
    run = linked(planted, own_server)
    assert link_tags(run)["state"] == "synced"
    verified = planted.command("verify", run.info.run_id)
    assert verified.code == 0, verified.stdout
    assert leaks(planted, own_server, verified) == []
