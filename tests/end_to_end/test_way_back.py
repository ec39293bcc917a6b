"""A Task is cloned, edited, queued, and run by the real `clearml-agent`: a second MLflow run, linked to the clone.

The agent is PyPI's, in an environment of its own. It clones the repository, applies the diff, starts the entry point,
sends the console and sets the status. What is skipped, to save minutes: building a new environment from the Task's
requirements; the agent is told to use the one that has the built wheel (`CLEARML_AGENT_SKIP_PIP_VENV_INSTALL`).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, link_tags, properties, scalars, section, task_of
from tests.end_to_end.processes import wait_for

AGENT = "clearml-agent==3.0.3"

ARGPARSE = """
import argparse
import mlflow

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--layers", type=int, nargs="+", default=[8])
parser.add_argument("--fast", action="store_true")
commands = parser.add_subparsers(dest="command")
train = commands.add_parser("train")
train.add_argument("data")
train.add_argument("--steps", type=int, default=2)
args = parser.parse_args()
with mlflow.start_run():
    mlflow.log_params(vars(args))
    for step in range(args.steps):
        mlflow.log_metric("loss", 1 - args.lr * step, step=step)
    with mlflow.start_run(run_name="child", nested=True):
        mlflow.log_metric("depth", 1.0)
print("trained with", args.lr)
"""

HYDRA = """
import hydra
import mlflow

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(config):
    with mlflow.start_run():
        mlflow.log_param("lr", config.optimizer.lr)
        mlflow.log_param("depth", config.depth)

main()
"""

PLAIN = """
import sys
import mlflow

with mlflow.start_run():
    mlflow.log_param("words", " ".join(sys.argv[1:]))
"""


@pytest.fixture(scope="session")
def clearml_agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent's command, in an environment of its own."""
    folder = tmp_path_factory.mktemp("agent") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin" / "python", "-m", "pip", "-q", "install", AGENT], check=True)
    return folder / "bin" / "clearml-agent"


class Remote:
    """The machine with the agent, and what a person does in ClearML's pages."""

    def __init__(self, place: Place, server: ClearMLServer, agent: Path) -> None:
        self.place, self.server, self.agent = place, server, agent
        self._api = requests.Session()
        self._api.auth = (server.credentials.access_key, server.credentials.secret_key)

    def call(self, endpoint: str, **body: object) -> dict[str, Any]:
        answer = self._api.post(f"{self.server.api_url}/{endpoint}", json=body, timeout=10)
        assert answer.ok, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data

    def clone(self, task: dict[str, Any], **changed: str) -> str:
        """Clone a Task, change parameters (`Args__lr="0.9"`), and queue it."""
        clone = str(self.call("tasks.clone", task=task["id"], new_task_name=f"Clone of {task['name']}")["id"])
        if changed:
            items = [
                dict(zip(("section", "name"), key.split("__"), strict=True), value=v) for key, v in changed.items()
            ]
            self.call("tasks.edit_hyper_params", task=clone, hyperparams=items)
        self.call("tasks.enqueue", task=clone)
        return clone

    def execute(self, task_id: str, **environ: str) -> str:
        """Let the agent run a queued Task to its end; returns what the agent printed."""
        home = self.place.root / "agent"
        home.mkdir(exist_ok=True)
        environment = self.place.environment(agent=False)
        del environment["MLFLOW_TRACKING_URI"]
        done = subprocess.run(
            [self.agent, "execute", "--id", task_id],
            env=environment
            | {
                "HOME": str(home),
                "CLEARML_AGENT_SKIP_PIP_VENV_INSTALL": self.place.python,
                "CLEARML_WORKER_ID": "test:0",
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "protocol.file.allow",
                "GIT_CONFIG_VALUE_0": "always",
                **environ,
            },
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=150,
            check=False,
        )
        return done.stdout


@pytest.fixture
def remote(own_place: Place, own_server: ClearMLServer, clearml_agent: Path) -> Remote:
    """The place is a Git repository with a remote on disk."""
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(own_place.root / "remote.git")], check=True)
    own_place.git("init", "-q", "-b", "main")
    own_place.git("remote", "add", "origin", str(own_place.root / "remote.git"))
    return Remote(own_place, own_server, clearml_agent)


def commit(place: Place, files: dict[str, str]) -> None:
    for name, text in files.items():
        place.write(name, text)
    place.git("add", "-A")
    place.git("commit", "-q", "-m", "Work")
    place.git("push", "-q", "-u", "origin", "HEAD")


def new_run(place: Place, *known: Any) -> Any:
    """Return the newest top-level run that is none of those known."""
    ids = {run.info.run_id for run in known}
    runs = [run for run in place.mlflow_runs() if "mlflow.parentRunId" not in run.data.tags]
    (run,) = [run for run in runs if run.info.run_id not in ids]
    return run


def test_a_clone_with_one_changed_argument(remote: Remote, own_server: ClearMLServer) -> None:
    """Run, clone, change, queue, execute: the changed value is seen, all others are as they were; both link."""
    place = remote.place
    commit(place, {"train.py": ARGPARSE})
    place.write("train.py", ARGPARSE + "print('not committed')\n")
    arguments = ("--lr", "0.2", "--layers", "16", "4", "--fast", "train", "data.csv", "--steps", "3")
    done = place.run("", *arguments, command=["train.py"], MLFLOW_EXPERIMENT_NAME="team/way-back")
    assert done.code == 0, done.stderr
    origin = new_run(place)
    source = task_of(own_server, origin.info.run_id)

    clone = remote.clone(source, Args__lr="0.5")
    said = remote.execute(clone)

    run = new_run(place, origin)
    expected = {**origin.data.params, "lr": "0.5"}
    assert run.data.params == expected, said
    task = own_server.task(clone)
    assert task["status"] == "completed"
    assert task["parent"] == source["id"]
    assert properties(task)["mlflow_run_id"] == run.info.run_id
    assert section(task, "MLflow") == expected
    assert scalars(own_server, clone) == place.points(run.info.run_id)
    assert own_server.console(clone).count("trained with 0.5") == 1
    assert "not committed" in own_server.console(clone)
    experiment = place.client.get_experiment(run.info.experiment_id)
    assert experiment.name == "team/way-back"
    assert link_tags(run) == {
        "task_id": clone,
        "task_url": link_tags(run)["task_url"],
        "state": "synced",
        "cloned_from": source["id"],
        "cloned_from_run": origin.info.run_id,
        "changed": "Args/lr: 0.2 -> 0.5",
    }
    child = next(task for task in own_server.tasks if task.get("parent") == clone)
    assert child["name"] == "child"
    assert child["status"] == "completed"


def test_a_module(remote: Remote, own_server: ClearMLServer) -> None:
    """`python -m package.train`, with arguments."""
    place = remote.place
    commit(place, {"pkg/__init__.py": "", "pkg/train.py": ARGPARSE})
    done = place.run("", "--lr", "0.2", command=["-m", "pkg.train"])
    assert done.code == 1  # no steps without the command: the failing run is a run too
    place.write("pkg/train.py", ARGPARSE.replace("args.steps", "2"))
    done = place.run("", "--lr", "0.2", command=["-m", "pkg.train"])
    assert done.code == 0, done.stderr
    known = [run for run in place.mlflow_runs() if "mlflow.parentRunId" not in run.data.tags]
    clone = remote.clone(task_of(own_server, known[-1].info.run_id), Args__lr="0.7", Args__fast="True")
    said = remote.execute(clone)
    params = new_run(place, *known).data.params
    assert (params["lr"], params["fast"], params["layers"]) == ("0.7", "True", "[8]"), said


def test_hydra(remote: Remote, own_server: ClearMLServer) -> None:
    """An override is changed in the section `Hydra`, and another one added."""
    pytest.importorskip("hydra")
    place = remote.place
    config = "optimizer:\n  lr: 0.1\ndepth: 3\n"
    commit(place, {"train.py": HYDRA, "config.yaml": config, ".gitignore": "outputs\n"})
    done = place.run("", "optimizer.lr=0.2", command=["train.py"])
    assert done.code == 0, done.stderr
    origin = new_run(place)
    source = task_of(own_server, origin.info.run_id)
    assert section(source, "Hydra") == {"optimizer.lr": "0.2"}
    clone = remote.clone(source, **{"Hydra__optimizer.lr": "0.6", "Hydra__depth": "5"})
    said = remote.execute(clone)
    assert new_run(place, origin).data.params == {"lr": "0.6", "depth": "5"}, said


def test_a_command_line_that_no_parser_reads(remote: Remote, own_server: ClearMLServer) -> None:
    """`Args/argv` is the line, and can be edited."""
    place = remote.place
    commit(place, {"train.py": PLAIN})
    assert place.run("", "lr=0.1", "a b", command=["train.py"]).code == 0
    origin = new_run(place)
    clone = remote.clone(task_of(own_server, origin.info.run_id), Args__argv="lr=0.3 'c d'")
    said = remote.execute(clone)
    assert new_run(place, origin).data.params == {"words": "lr=0.3 c d"}, said


def test_a_script_that_fails(remote: Remote, own_server: ClearMLServer) -> None:
    """Both sides end as failed."""
    place = remote.place
    commit(place, {"train.py": PLAIN + "    assert sys.argv[1] != 'bad'\n"})
    assert place.run("", "good", command=["train.py"]).code == 0
    origin = new_run(place)
    clone = remote.clone(task_of(own_server, origin.info.run_id), Args__argv="bad")
    remote.execute(clone)
    assert own_server.task(clone)["status"] == "failed"
    assert new_run(place, origin).info.status == "FAILED"


def test_the_machine_may_say_no(remote: Remote, own_server: ClearMLServer) -> None:
    """`AUTOINSTRUMENT_ENABLED=0` on the agent's machine wins; so does its tracking URI."""
    place = remote.place
    commit(place, {"train.py": PLAIN})
    assert place.run("", "x", command=["train.py"]).code == 0
    origin = new_run(place)
    clone = remote.clone(task_of(own_server, origin.info.run_id))
    remote.execute(clone, AUTOINSTRUMENT_ENABLED="0", MLFLOW_TRACKING_URI=place.uri)
    run = new_run(place, origin)
    assert link_tags(run) == {}
    assert own_server.task(clone)["status"] == "completed"


def test_a_command_that_is_queued_without_running_it_here(remote: Remote, own_server: ClearMLServer) -> None:
    """`autoinstrument remote`: nothing runs here, and the agent's run is linked to the Task."""
    place = remote.place
    commit(place, {"train.py": ARGPARSE, "requirements.txt": "mlflow\n"})
    line = ("remote", "--queue", "new", "--", "python", "train.py", "--lr", "0.3", "train", "d.csv")
    done = place.command(*line, MLFLOW_EXPERIMENT_NAME="queued")
    assert done.code == 0, done.stderr
    assert place.mlflow_runs() == []
    (task,) = own_server.tasks
    assert task["id"] in done.stdout
    assert task["status"] == "queued"
    assert task["script"]["requirements"]["pip"].startswith("mlflow\nautoinstrument==")
    said = remote.execute(task["id"])
    run = new_run(place)
    assert (run.data.params["lr"], run.data.params["data"]) == ("0.3", "d.csv"), said
    assert place.client.get_experiment(run.info.experiment_id).name == "queued"
    assert link_tags(run)["task_id"] == task["id"]
    assert own_server.task(task["id"])["status"] == "completed"


OPTIMISER = """
import sys
from clearml.automation import DiscreteParameterRange, GridSearch, HyperParameterOptimizer

optimizer = HyperParameterOptimizer(
    base_task_id=sys.argv[1],
    hyper_parameters=[DiscreteParameterRange("Args/lr", values=[0.3, 0.6])],
    objective_metric_title="loss",
    objective_metric_series="loss",
    objective_metric_sign="min",
    optimizer_class=GridSearch,
    execution_queue="default",
    max_number_of_concurrent_tasks=1,
    total_max_jobs=2,
    pool_period_min=0.02,
    save_top_k_tasks_only=-1,
)
optimizer.set_report_period(0.05)
optimizer.start()
optimizer.wait(timeout=2.5)
top = optimizer.get_top_experiments(top_k=1)
optimizer.stop()
print("BEST", top[0].id)
"""


def test_an_optimiser_of_clearmls(remote: Remote, own_server: ClearMLServer) -> None:
    """HyperParameterOptimizer clones, queues and reads the objective; each job is a linked MLflow run."""
    place = remote.place
    # Tasks of child runs are the base Task's children, as the jobs are, and without the metric they sort first.
    commit(place, {"train.py": ARGPARSE.replace('with mlflow.start_run(run_name="child", nested=True):', "if False:")})
    assert place.run("", "--lr", "0.1", "train", "d.csv", command=["train.py"]).code == 0
    origin = new_run(place)
    source = task_of(own_server, origin.info.run_id)
    remote.call("queues.create", name="default")
    optimiser = place.start(OPTIMISER, source["id"], name="optimise.py", agent=False)
    jobs: list[str] = []
    while len(jobs) < 2:
        queued = wait_for(lambda: [task["id"] for task in own_server.tasks if task["status"] == "queued"], 60)
        remote.execute(queued[0])
        jobs.append(queued[0])
    done = optimiser.finish(90)
    best = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("BEST")]
    runs = {link_tags(run)["task_id"]: run for run in place.mlflow_runs() if "mlflow.parentRunId" not in run.data.tags}
    assert {runs[job].data.params["lr"] for job in jobs} == {"0.3", "0.6"}
    assert {link_tags(runs[job])["cloned_from"] for job in jobs} == {source["id"]}
    assert [runs[job].data.params["lr"] for job in best] == ["0.6"], done.stdout + done.stderr
