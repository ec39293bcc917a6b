"""Run training scripts as a user would: each in a separate process, with the wheel installed, against the double."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import psutil
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from tests.clearml_server import ClearMLServer
from tests.clearml_server.metrics import SINGLE_VALUE
from tests.conftest import WHOLE_END
from tests.end_to_end.fork_server import ForkedProcess, ForkServer
from tests.end_to_end.hand_over import VARIABLE
from tests.end_to_end.processes import Finished, Started, wait_for
from tests.problems import PROBLEMS

Points = dict[tuple[str, int], tuple[float, int]]
"""A run's metrics: (key, step) → (value, timestamp in ms). ClearML holds one point a step, the last one."""

MONITOR = ":monitor:"
"""Beginning of the titles of the curves that machine and GPUs have."""

FILE_STORE = {"MLFLOW_ALLOW_FILE_STORE": "true"}
"""MLflow accepts a folder as a tracking store only with this variable (mlflow 3.7 or so)."""


class Place:
    """Where a test's scripts run: a folder, an MLflow store, the agent's home, and the process's environment.

    Attributes:
        folder: the working directory. home: AUTOINSTRUMENT_HOME. temporary: TMPDIR of the scripts.
        server: the ClearML server they talk to, None for no configuration at all.
        uri: MLflow's tracking URI: a database, or a folder for `mlflow-skinny`, which has none.
        environ: variables on top, for all scripts of this place.
        python: an interpreter that has the built wheel; `AUTOINSTRUMENT_ENABLED` is what switches the agent on.
        fork_server: runs scripts that need no interpreter of their own, and workers; None for new ones always.
    """

    def __init__(
        self,
        server: ClearMLServer | None,
        database: Path | None,
        python: Path,
        fork_server: ForkServer | None = None,
    ) -> None:
        # Not pytest's own folder: the path of a Unix socket is short.
        self.root = Path(tempfile.mkdtemp(prefix="e2e-"))
        self.folder, self.home, self.temporary = (self.root / name for name in ("work", "home", "tmp"))
        self.folder.mkdir()
        self.temporary.mkdir()
        (self.root / "user").mkdir()
        PROBLEMS.watch(self.home)
        self.server = server
        self.environ: dict[str, str] = {}
        if database is not None:
            shutil.copy(database, self.root / "mlflow.db")
            self.uri = f"sqlite:///{self.root / 'mlflow.db'}"
        else:
            self.uri = (self.root / "mlruns").as_uri()
            self.environ |= FILE_STORE
        self.python = str(python)
        self.fork_server = fork_server
        self._started: list[subprocess.Popen[bytes]] = []

    def environment(self, *, agent: bool = True, **more: str) -> dict[str, str]:
        """Return the whole environment of a script, without the settings of the person who runs the tests."""
        foreign = ("AUTOINSTRUMENT_", "CLEARML_", "TRAINS_", "MLFLOW_", "PYTHON", "PYTEST", "GIT_", "XDG_")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        if agent:
            kept |= {"AUTOINSTRUMENT_ENABLED": "1", "AUTOINSTRUMENT_HOME": str(self.home)}
        kept |= {
            "HOME": str(self.root / "user"),
            "TMPDIR": str(self.temporary),
            "PYTHONDONTWRITEBYTECODE": "1",
            # The end of a script waits longer than by default: other tests keep the machine busy.
            "AUTOINSTRUMENT_EXIT_TIMEOUT": "120",
            "AUTOINSTRUMENT_WORKER_LINGER": "0",  # no test leaves its worker to the next one
            "MLFLOW_TRACKING_URI": self.uri,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.com",
            "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.com",
        }  # fmt: skip
        if self.server is not None:
            kept |= self.server.environ
        else:
            kept["CLEARML_CONFIG_FILE"] = str(self.root / "no-clearml.conf")
        if self.fork_server is not None:
            kept |= self.fork_server.environ
        return {**kept, **self.environ, **more}

    def write(self, name: str, text: str) -> Path:
        """Write a file of the working directory, unless it is there: a script that just starts may be reading it."""
        path, text = self.folder / name, textwrap.dedent(text).lstrip("\n")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
        return path

    def start(
        self,
        script: str,
        *arguments: str,
        agent: bool = True,
        name: str = "train.py",
        command: list[str] | None = None,
        fresh: bool = False,
        **environ: str,
    ) -> Started:
        """Write a script to a file and start it; `command` replaces `[name]` for anything else that Python can run.

        `fresh`: in a new interpreter, as is its worker, for tests of its start or its end. The fixture `whole_end`
        gives a new interpreter with a forked worker.
        """
        if script:
            self.write(name, script)
        line = [self.python, *(command or [name]), *arguments]
        variables = self.environment(agent=agent, **environ)
        if fresh:
            variables.pop(VARIABLE, None)
        options: dict[str, Any] = {
            "cwd": self.folder,
            "env": variables,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        forks = self.fork_server
        process: subprocess.Popen[bytes]
        if forks and not fresh and WHOLE_END not in os.environ and forks.can_run(line, {**self.environ, **environ}):
            process = ForkedProcess(forks, line, **options)
        else:
            process = subprocess.Popen(line, **options)
        self._started.append(process)
        return Started(process)

    def run(self, script: str, *arguments: str, **more: Any) -> Finished:
        """Run a script to its end."""
        return self.start(script, *arguments, **more).finish()

    def command(self, *arguments: str, **environ: str) -> Finished:
        """Run `autoinstrument ARGUMENTS…` as a user does in the same environment, the switch not set."""
        environ = {"AUTOINSTRUMENT_ENABLED": "", **environ}
        return self.start("", *arguments, command=["-m", "autoinstrument"], **environ).finish()

    def git(self, *arguments: str) -> str:
        """Run git in the working directory."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            env=self.environment(),
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    # MLflow's side

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.uri)

    def mlflow_run(self, run_id: str) -> Run:
        return self.client.get_run(run_id)

    def mlflow_runs(self) -> list[Run]:
        """Return all runs of the store in the order in which they were started."""
        experiments = [experiment.experiment_id for experiment in self.client.search_experiments()]
        runs = list(self.client.search_runs(experiments))
        return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_name))

    def the_run(self) -> Run:
        """Return the store's only run."""
        (run,) = self.mlflow_runs()
        return run

    def run_named(self, name: str) -> Run:
        (run,) = [run for run in self.mlflow_runs() if run.info.run_name == name]
        return run

    def points(self, run_id: str) -> Points:
        """Return the points of a run's metrics in MLflow that a curve can hold: finite, and within float32.

        A metric without steps is numbered from 0, by time and value.
        """
        held: Points = {}
        for key in self.mlflow_run(run_id).data.metrics:
            history = self.client.get_metric_history(run_id, key)
            drawn = [metric for metric in history if abs(metric.value) < 3.4e38]  # false for NaN, too
            if {metric.step for metric in drawn} == {0}:
                ordered = sorted({(metric.timestamp, metric.value) for metric in drawn})
                held |= {(key, number): (value, time) for number, (time, value) in enumerate(ordered)}
                continue
            for metric in sorted(drawn, key=lambda metric: metric.timestamp):
                held[key, metric.step] = (metric.value, metric.timestamp)
        return held

    # What is left behind

    def workers(self) -> list[psutil.Process]:
        """Return the agent's processes of this place, found by their folder below its TMPDIR."""
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            line = " ".join(process.info["cmdline"] or [])
            if str(self.temporary) in line and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    def kill_workers(self) -> None:
        """Send SIGKILL to the agent's processes, as soon as there are some."""
        for worker in wait_for(self.workers):
            with contextlib.suppress(psutil.NoSuchProcess):  # the first process of a double fork
                worker.kill()

    def left_behind(self) -> list[str]:
        """Return processes and temporary files that are still there."""
        return [*map(str, self.workers()), *(path.name for path in self.temporary.iterdir())]

    def journals(self) -> list[Path]:
        """Return the folders of runs whose Tasks are not complete yet."""
        folder = self.home / "captures"
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def console_on_disk(self) -> str:
        """Return the console lines that the journals hold by now."""
        lines: list[str] = []
        for journal in self.journals():
            with contextlib.suppress(FileNotFoundError):  # there is none, or the Task is complete meanwhile
                lines += (journal / "console.jsonl").read_text().splitlines(keepends=True)
        return "".join(json.loads(line)[1] + "\n" for line in lines if line.endswith("\n"))

    def clean_up(self) -> None:
        """End the processes that a failed test left running, and remove the folder."""
        for script in self._started:
            script.kill()  # no effect on a process that has ended
        for process in self.workers():
            process.kill()
        shutil.rmtree(self.root, ignore_errors=True)


# ClearML's side


def tasks_of(server: ClearMLServer, *run_ids: str) -> list[dict[str, Any]]:
    """Return the Tasks whose properties name one of these runs, in order of creation."""
    return server.tasks_where(lambda task: properties(task).get("mlflow_run_id") in run_ids)


def task_of(server: ClearMLServer, run_id: str) -> dict[str, Any]:
    """Return the one Task whose properties name this run."""
    (task,) = tasks_of(server, run_id)
    return task


def ended(server: ClearMLServer, run_id: str) -> dict[str, Any]:
    """Return the run's Task as soon as it has ended."""

    def has_ended() -> bool:
        of_run = tasks_of(server, run_id)
        return bool(of_run) and of_run[0]["status"] not in ("created", "in_progress")

    wait_for(has_ended)
    return task_of(server, run_id)


def section(task: dict[str, Any], name: str) -> dict[str, str]:
    """Return a section of the Task's hyperparameters, values by name."""
    return {key: item["value"] for key, item in task["hyperparams"].get(name, {}).items()}


def properties(task: dict[str, Any]) -> dict[str, str]:
    return section(task, "properties")


def scalars(server: ClearMLServer, task_id: str) -> Points:
    """Return the Task's curves in the form of `Place.points`, without the monitor's: a busy machine has some."""
    return {
        (title if title == series else f"{title}/{series}", iteration): (value, timestamp)
        for title, curves in server.scalars(task_id).items()
        if not title.startswith(MONITOR)
        for series, points in curves.items()
        for iteration, value, timestamp in points
        if iteration != SINGLE_VALUE
    }


def single_values(server: ClearMLServer, task_id: str) -> dict[str, float]:
    """Return the rows of the Task's table *Summary*."""
    rows = server.scalars(task_id).get("Summary", {})
    return {name: points[0][1] for name, points in rows.items() if points[0][0] == SINGLE_VALUE}


def task_page(server: ClearMLServer, task: dict[str, Any]) -> str:
    """Return the address of a Task's page, as clearml 2.1 writes it for a server of this version."""
    return f"{server.web_url}/projects/{task['project']}/tasks/{task['id']}/output/log"


def events_taken(task: dict[str, Any]) -> int:
    """Return how many points of the run's metrics the server has taken, the same one again counted again."""
    curves = [last for variants in task["last_metrics"].values() for last in variants.values()]
    return sum(int(last["count"]) for last in curves if not last["metric"].startswith(("Summary", MONITOR)))


def link_tags(run: Run) -> dict[str, str]:
    """Return the run's link tags, by the part of their name behind `clearml.`."""
    return {key.removeprefix("clearml."): value for key, value in run.data.tags.items() if key.startswith("clearml.")}
