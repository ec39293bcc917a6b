"""`autoinstrument sync --follow --live` beside a real tracking server: runs of REST clients, and of the agent."""

from __future__ import annotations

import signal
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.harness import Place, link_tags, scalars, section, task_of
from tests.end_to_end.processes import AT_ONCE_S, Started, wait_for
from tests.unit.cli.test_health import free_port

WITH_AGENT = """
import mlflow, time
with mlflow.start_run(run_name="with the agent"):
    for step in range(20):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
        time.sleep(1)
"""


class Rest:
    """A run that a program logs over HTTP, as R and Java do."""

    def __init__(self, address: str, experiment_id: str, name: str) -> None:
        self._address = f"{address}/api/2.0/mlflow"
        run = self("runs/create", experiment_id=experiment_id, run_name=name, start_time=1_700_000_000_000)["run"]
        self.run_id: str = run["info"]["run_id"]

    def __call__(self, call: str, **body: Any) -> Any:
        answer = requests.post(f"{self._address}/{call}", json=body, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def log(self, first: int, last: int) -> None:
        points = [
            {"key": "loss", "value": 1 / (n + 1), "timestamp": 1_700_000_000_000 + n, "step": n}
            for n in range(first, last)
        ]
        self("runs/log-batch", run_id=self.run_id, metrics=points)

    def end(self, status: str) -> None:
        self("runs/update", run_id=self.run_id, status=status, end_time=1_700_000_100_000)


@pytest.fixture
def place(own_place: Place, mlflow_server: str) -> Place:
    own_place.uri = mlflow_server
    own_place.environ["MLFLOW_EXPERIMENT_NAME"] = f"of {own_place.root.name}"  # other tests use the server, too
    return own_place


@pytest.fixture
def experiment_id(place: Place) -> str:
    created: str = place.client.create_experiment(place.environ["MLFLOW_EXPERIMENT_NAME"])
    return created


def follow(place: Place, *options: str) -> Started:
    command = [
        "-m",
        "autoinstrument",
        "sync",
        "--experiment",
        place.environ["MLFLOW_EXPERIMENT_NAME"],
        "--follow",
        "--live",
        *options,
    ]
    return place.start("", command=command, agent=False)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def following(place: Place, experiment_id: str, port: int) -> Iterator[Started]:
    started = follow(place, "--jobs", "2", "--health", f"127.0.0.1:{port}")
    yield started
    started.kill(signal.SIGKILL)


def test_a_run_of_another_language(
    place: Place, own_server: ClearMLServer, following: Started, experiment_id: str, port: int
) -> None:
    run = Rest(place.uri, experiment_id, "from R")
    run("runs/log-parameter", run_id=run.run_id, key="depth", value="3")
    run.log(0, 10)

    def task() -> dict[str, Any]:
        assert following.process.poll() is None, following.finish().stderr
        found = [each for each in own_server.tasks if each["name"] == "from R"]
        return found[0] if found else {}

    wait_for(lambda: task().get("status") == "in_progress" and len(scalars(own_server, task()["id"])) == 10)
    assert section(task(), "MLflow") == {"depth": "3"}
    wait_for(lambda: link_tags(place.mlflow_run(run.run_id)).get("state") == "followed")
    for first in (10, 11, 25):
        run.log(first, first + 5)
        run("runs/set-tag", run_id=run.run_id, key="first", value=str(first))
        wait_for(lambda: section(task(), "MLflow tags").get("first") == str(first))  # noqa: B023
        wait_for(lambda: scalars(own_server, task()["id"]) == place.points(run.run_id))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        metrics = answer.read().decode()
    assert "autoinstrument_sync_runs_followed 1\n" in metrics
    for address in (place.uri, own_server.environ["CLEARML_API_HOST"]):
        assert f'requests_total{{server="{address.removeprefix("http://")}",status="200"}}' in metrics
    run.end("FAILED")
    wait_for(lambda: link_tags(place.mlflow_run(run.run_id))["state"] == "synced")
    assert task_of(own_server, run.run_id)["status"] == "failed"
    following.kill(signal.SIGTERM)
    done = following.finish(AT_ONCE_S)
    assert (done.code, "Traceback" in done.stderr) == (0, False), done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("from R")]
    assert [line.split()[2] for line in lines] == ["followed", "synced"]
    verified = place.command("verify", run.run_id)
    assert verified.code == 0, verified.stdout


def test_a_run_with_the_agent_is_the_agents(place: Place, own_server: ClearMLServer, following: Started) -> None:
    done = place.run(WITH_AGENT)
    assert done.code == 0, done.stderr
    run = place.run_named("with the agent")
    wait_for(lambda: link_tags(place.mlflow_run(run.info.run_id)).get("state") == "synced")
    (task,) = own_server.tasks
    assert task["id"] == link_tags(place.mlflow_run(run.info.run_id))["task_id"]
    assert "with the agent" in task["script"]["diff"], "it has what only the agent knows"
    following.kill(signal.SIGINT)
    assert "followed" not in following.finish(AT_ONCE_S).stdout


@pytest.mark.parametrize("options", [(), ("--jobs", "2")])
def test_a_signal_ends_it_although_a_server_hangs(
    place: Place, own_server: ClearMLServer, experiment_id: str, options: tuple[str, ...]
) -> None:
    """A request may take 30 s, and is tried three times. The next follower goes on with the Task that was made."""
    run = Rest(place.uri, experiment_id, "cut off")
    run.log(0, 10)
    fault = own_server.faults.add(Fault("tasks.create", action="hang", when="after"))
    following = follow(place, *options)
    wait_for(lambda: own_server.tasks or following.process.poll() is not None)
    following.kill(signal.SIGTERM)
    done = following.finish(AT_ONCE_S)
    assert done.code in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    own_server.faults.remove(fault)
    again = follow(place)
    wait_for(lambda: link_tags(place.mlflow_run(run.run_id)).get("state") == "followed")
    again.kill(signal.SIGTERM)
    assert again.finish(AT_ONCE_S).code == 0
    (task,) = own_server.tasks
    assert (task["status"], scalars(own_server, task["id"])) == ("in_progress", place.points(run.run_id))
