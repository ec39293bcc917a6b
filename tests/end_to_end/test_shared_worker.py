"""One worker serves all training processes of a user that talk to the same servers in the same way."""

from __future__ import annotations

import json
from urllib.parse import unquote, urlsplit

import psutil
import pytest
from mlflow.tracking import MlflowClient

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags, scalars
from tests.end_to_end.processes import PATIENCE_S, Started, wait_for

SCRIPT = """
import sys
import mlflow
with mlflow.start_run(run_name=sys.argv[1]):
    for step in range(20):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    print("this is", sys.argv[1])
"""

AT_ONCE = """
import pathlib, sys, time
import mlflow

def wait_for(name):
    while not pathlib.Path(name).exists():
        time.sleep(0.001)

pathlib.Path(f"{sys.argv[1]} is there").touch()
wait_for("go")
with mlflow.start_run(run_name=sys.argv[1]):
    step = 0
    while not pathlib.Path("end").exists():
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
        step += 1
        time.sleep(float(sys.argv[2]))
    print("this is", sys.argv[1])
"""


IN_A_STORE = """
import pathlib, sys, time
import mlflow
with mlflow.start_run(run_name=sys.argv[1]):
    mlflow.log_metric("loss", 0.5, step=1)
    mlflow.log_text(f"of {sys.argv[1]}", "folder/name.txt")
    pathlib.Path(f"{sys.argv[1]} is there").touch()
    while not pathlib.Path("end").exists():
        time.sleep(0.02)
"""


def assert_complete(place: Place, server: ClearMLServer, names: list[str]) -> None:
    """Each run has a complete Task, without data of the others."""
    assert sorted(run.info.run_name for run in place.mlflow_runs()) == sorted(names)
    for run in place.mlflow_runs():
        task = ended(server, run.info.run_id)
        assert (task["status"], link_tags(run)["state"]) == ("completed", "synced")
        assert scalars(server, task["id"]) == place.points(run.info.run_id) != {}
        printed = [line for line in server.console(task["id"]).splitlines() if line.startswith("this is")]
        assert printed == [f"this is {run.info.run_name}"]
    assert place.journals() == []


def start_at_once(place: Place, names: list[str], pause_s: float = 0.05, **environ: str) -> list[Started]:
    """Start scripts that begin their runs in the same moment, and hold them until the file `end` is there."""
    place.write("train.py", AT_ONCE)
    started = [place.start("", name, str(pause_s), command=["train.py"], **environ) for name in names]
    wait_for(lambda: all((place.folder / f"{name} is there").exists() for name in names))
    (place.folder / "go").touch()
    limit_s = PATIENCE_S + 10 * len(names)  # each takes seconds of CPU time
    wait_for(lambda: len(place.journals()) == len(names), limit_s)
    wait_for(lambda: all(link_tags(run).get("state") == "live" for run in place.mlflow_runs()), limit_s)
    return started


def finish(place: Place, started: list[Started]) -> list[list[str]]:
    """Let the scripts end; return what the agent has logged in each."""
    (place.folder / "end").touch()
    done = [each.finish() for each in started]
    assert [each.code for each in done] == [0] * len(started), [each.stderr for each in done]
    return [each.agent_lines for each in done]


def test_one_script_after_the_other_uses_the_same_worker(place: Place, server: ClearMLServer) -> None:
    """It stays for a while, unless it is asked to end. A process whose variables differ gets another worker."""
    place.environ["AUTOINSTRUMENT_WORKER_LINGER"] = "600"
    workers: list[list[psutil.Process]] = []
    for name, variables in (("first", {}), ("second", {}), ("third", {"AWS_PROFILE": "other"})):
        done = place.run(SCRIPT, name, **variables)
        assert done.code == 0, done.stderr
        workers.append(place.workers())
    assert [len(found) for found in workers] == [1, 1, 2]
    assert workers[0] == workers[1]
    assert workers[0][0] in workers[2]
    assert_complete(place, server, ["first", "second", "third"])
    left = place.temporary.glob  # nothing of the processes and runs that are gone
    wait_for(lambda: sorted(path.name for path in left("autoinstrument-*/*")) == ["lock", "lock", "socket", "socket"])
    for worker in workers[2]:
        worker.terminate()
    wait_for(lambda: not place.left_behind())


@pytest.mark.timeout(1800)
def test_processes_that_start_in_the_same_moment_end_with_one_worker(place: Place, server: ClearMLServer) -> None:
    names = [f"number {number}" for number in range(32)]
    started = start_at_once(place, names, pause_s=1, AUTOINSTRUMENT_WORKER_LINGER="5")
    (worker,) = place.workers()
    assert {json.loads((run / "capture.json").read_text())["worker_pid"] for run in place.journals()} == {worker.pid}
    for lines in finish(place, started):
        assert len(lines) == 1
    assert place.workers() == [worker]
    assert_complete(place, server, names)
    wait_for(lambda: not place.left_behind())


def test_processes_go_on_together_when_their_worker_dies_again_and_again(place: Place, server: ClearMLServer) -> None:
    """Each of them logs it once; one of them starts the next worker."""

    def taken_over() -> list[psutil.Process]:
        """Return the worker that has both runs."""
        found = {json.loads((run / "capture.json").read_text())["worker_pid"] for run in place.journals()}
        return [worker for worker in place.workers() if found == {worker.pid}]

    started = start_at_once(place, ["one", "other"])
    for _ in range(3):
        (worker,) = wait_for(taken_over)
        assert place.workers() == [worker]
        worker.kill()
        wait_for(lambda killed=worker: not killed.is_running())
    wait_for(taken_over)
    for lines in finish(place, started):
        _, lost = lines
        assert "the worker process has died; another one continues" in lost
    assert_complete(place, server, ["one", "other"])
    wait_for(lambda: not place.left_behind())


def test_processes_with_other_stores_share_a_worker(place: Place, server: ClearMLServer, mlflow_server: str) -> None:
    """A database, and a server that hands files on: each run's file comes from its own store, live and by `sync`."""
    place.environ |= {"AUTOINSTRUMENT_ARTIFACTS": "upload", "MLFLOW_EXPERIMENT_NAME": place.root.name}
    stores = {"in a database": place.uri, "behind a server": mlflow_server}
    started = [place.start(IN_A_STORE, name, MLFLOW_TRACKING_URI=uri) for name, uri in stores.items()]
    wait_for(lambda: all((place.folder / f"{name} is there").exists() for name in stores))
    wait_for(lambda: len(place.journals()) == len(stores))

    def workers() -> list[int]:
        return [json.loads((run / "capture.json").read_text())["worker_pid"] for run in place.journals()]

    wait_for(lambda: all(workers()))
    assert [{worker.pid} for worker in place.workers()] == [set(workers())]
    finish(place, started)
    for name, uri in stores.items():
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name(place.root.name)
        (run,) = client.search_runs([experiment.experiment_id])
        assert run.info.artifact_uri.startswith("mlflow-artifacts:") == (uri == mlflow_server)
        task = ended(server, run.info.run_id)
        wait_for(lambda client=client, run=run: link_tags(client.get_run(run.info.run_id)).get("state") == "synced")
        (file,) = [item for item in task["execution"]["artifacts"] if item["key"] == "folder/name.txt"]
        assert server.files[unquote(urlsplit(file["uri"]).path).lstrip("/")] == f"of {name}".encode()
        for command in (["sync", "--run"], ["verify"]):
            done = place.command(*command, run.info.run_id, MLFLOW_TRACKING_URI=uri)
            assert done.code == 0, done.stdout + done.stderr
        assert "1 the same, 0 different" in done.stdout
    assert place.journals() == []
