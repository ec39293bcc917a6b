"""A machine with a ClearML agent, and a person's actions in ClearML's pages.

The agent is the real `clearml-agent` from PyPI, in an environment of its own: it takes a Task from its queue, clones
the repository, applies the diff, starts the entry point, sends the console, watches for aborts, and sets the status.
To save minutes it does not make an environment from the Task's requirements but uses the one with the built wheel;
`test_way_back_environments.py` covers that step.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import requests
from mlflow.entities import Run

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, link_tags, task_of
from tests.end_to_end.processes import wait_for

AGENT = "clearml-agent==3.0.3"
UNSERVED = "unserved"
"""A queue that no daemon serves, for Tasks that `Remote.execute` runs: a daemon would run them, too."""


def install_agent(folder: Path) -> None:
    """Install the agent into a new environment."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "-q", "--python", str(folder / "bin" / "python")]
    subprocess.run([*pip, "install", AGENT], check=True)


class Remote:
    """A place in a Git repository with a remote on disk, and an agent that serves the queue `default`.

    Attributes:
        variables: those of the agent's machine, besides ClearML's credentials.
    """

    def __init__(self, place: Place, server: ClearMLServer, command: Path) -> None:
        self.place, self.server, self.command = place, server, command
        self.home = place.root / "agent"
        self.home.mkdir()
        self.daemon: subprocess.Popen[bytes] | None = None
        self._others: list[subprocess.Popen[bytes]] = []
        self.variables: dict[str, str] = {}
        self._api = requests.Session()
        self._api.auth = (server.credentials.access_key, server.credentials.secret_key)
        self.call("queues.create", name="default")
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(place.root / "remote.git")], check=True)
        place.git("init", "-q", "-b", "main")
        place.git("remote", "add", "origin", str(place.root / "remote.git"))

    # A person at work

    def call(self, endpoint: str, **body: object) -> dict[str, Any]:
        """Ask ClearML's API as its pages do."""
        answer = self._api.post(f"{self.server.api_url}/{endpoint}", json=body, timeout=10)
        assert answer.ok, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data

    def commit(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            self.place.write(name, text)
        self.place.git("add", "-A")
        self.place.git("commit", "-q", "-m", "Work")
        self.place.git("push", "-q", "-u", "origin", "HEAD")

    def train(self, *arguments: str, command: list[str], experiment: str) -> tuple[Run, dict[str, Any]]:
        """Train here, with the agent on; returns the run, the only top-level one of its experiment, and its Task."""
        done = self.place.run("", *arguments, command=command, MLFLOW_EXPERIMENT_NAME=experiment)
        assert done.code == 0, done.stderr
        (run,) = self.runs(experiment)
        return run, task_of(self.server, run.info.run_id)

    def clone(
        self, task: dict[str, Any], objects: dict[str, str] | None = None, /, queue: str = "default", **changed: str
    ) -> str:
        """Clone a Task, change configuration objects and parameters (`Args__lr="0.9"`), and queue it."""
        clone = str(self.call("tasks.clone", task=task["id"], new_task_name=f"Clone of {task['name']}")["id"])
        if changed:
            items = [
                dict(zip(("section", "name"), key.split("__", 1), strict=True), value=v) for key, v in changed.items()
            ]
            self.call("tasks.edit_hyper_params", task=clone, hyperparams=items)
        for name, value in (objects or {}).items():
            self.call("tasks.edit_configuration", task=clone, configuration=[{"name": name, "value": value}])
        self.call("tasks.enqueue", task=clone, queue_name=queue)
        return clone

    # Programs of the agent

    def environment(self, **more: str) -> dict[str, str]:
        """Return the agent's variables: ClearML's credentials, and where to find Python; nothing of MLflow's."""
        environment = self.place.environment(agent=False)
        del environment["MLFLOW_TRACKING_URI"]
        return environment | {
            "HOME": str(self.home),
            "CLEARML_AGENT_SKIP_PYTHON_ENV_INSTALL": "1",
            "CLEARML_AGENT_SKIP_PIP_VENV_INSTALL": self.place.python,
            "CLEARML_AGENT_QUEUE_POLL_FREQ_SEC": "0.5",
            "CLEARML_WORKER_ID": "test:0",
            **self.variables,
            **more,
        }

    def start_daemon(self) -> None:
        """Start the agent's daemon, where it does not run yet."""
        if self.daemon is None:
            self.daemon = self._start("default", "test:0")

    def start_another(self, queue: str, *options: str, **environ: str) -> None:
        """Start one more daemon, for another queue."""
        self.call("queues.create", name=queue)
        self._others.append(self._start(queue, f"test:{queue}", *options, **environ))

    def _start(self, queue: str, worker: str, *options: str, **environ: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self.command, "daemon", "--queue", queue, "--foreground", *options],
            env=self.environment(CLEARML_WORKER_ID=worker, **environ),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=(self.home / f"{queue}.log").open("ab"),
            stderr=subprocess.STDOUT,
        )

    def kill(self) -> None:
        """Kill the agent and the processes that it runs."""
        for daemon in [*([self.daemon] if self.daemon else []), *self._others]:
            with contextlib.suppress(psutil.Error):
                for process in psutil.Process(daemon.pid).children(recursive=True):
                    process.kill()
            daemon.kill()
            daemon.wait()
        self.daemon, self._others = None, []

    def execute(self, task_id: str, seconds: int = 200, **environ: str) -> str:
        """Run a queued Task by an agent without a daemon; returns its output."""
        done = subprocess.run(
            [self.command, "execute", "--id", task_id],
            env=self.environment(**environ),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        return done.stdout

    def ended(self, task_id: str) -> dict[str, Any]:
        """Wait until a Task that was queued has run; returns it."""
        self.start_daemon()
        return self.has_ended(task_id)

    def has_ended(self, task_id: str) -> dict[str, Any]:
        """Wait until a Task has run by whatever agent takes it; returns it."""
        return wait_for(lambda: self._ended(task_id))

    def _ended(self, task_id: str) -> dict[str, Any]:
        task = self.server.task(task_id)
        return task if task["status"] in ("completed", "failed", "stopped") else {}

    def running(self, task_id: str) -> Run:
        """Wait until the agent has begun the run of a Task that was queued; returns the run."""
        self.start_daemon()
        return wait_for(lambda: self.linked(task_id))[0]

    def run(self, task_id: str) -> Run:
        """Return the one run that is linked to this Task; fails with the Task's console."""
        found = self.linked(task_id)
        assert found, self.server.console(task_id)
        return found[0]

    def statuses(self, run: Run) -> list[str]:
        """Return the statuses of a run and its children in MLflow."""
        own = run.info.run_id
        return [
            one.info.status
            for one in self.place.mlflow_runs()
            if own in (one.info.run_id, one.data.tags.get("mlflow.parentRunId"))
        ]

    def linked(self, task_id: str) -> list[Run]:
        """Return the runs that are linked to this Task, in the order in which they were started."""
        return [run for run in self.place.mlflow_runs() if link_tags(run).get("task_id") == task_id]

    def runs(self, experiment: str) -> list[Run]:
        """Return the top-level runs of an experiment."""
        found = self.place.client.get_experiment_by_name(experiment)
        runs = self.place.mlflow_runs()
        return [
            run
            for run in runs
            if found and run.info.experiment_id == found.experiment_id and "mlflow.parentRunId" not in run.data.tags
        ]


@contextlib.contextmanager
def remote_of(place: Place, server: ClearMLServer, command: Path) -> Iterator[Remote]:
    remote = Remote(place, server, command)
    try:
        yield remote
    finally:
        remote.kill()
