"""The worker: a process beside the training, or a thread if configured; training never depends on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import time

import pytest
from mlflow.tracking import MlflowClient

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags, scalars, section
from tests.end_to_end.processes import AT_ONCE_S, wait_for

SCRIPT = """
import pathlib, time
import mlflow
with mlflow.start_run(run_name="the run"):
    mlflow.log_param("lr", 0.1)
    for step in range(300):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    print("half of it")
    pathlib.Path("ready").write_text("now")
    {pause}
    for step in range(300, 400):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    print("all of it")
"""


@pytest.mark.core
def test_a_thread_makes_the_same_task(place: Place, server: ClearMLServer) -> None:
    """`AUTOINSTRUMENT_WORKER=thread`: the same fields, points, console and status.

    So do a new interpreter for script and worker each, and forks of both, as in most of these tests.
    """
    tasks = []
    for worker, fresh in (("process", True), ("process", False), ("thread", False)):
        done = place.run(SCRIPT.format(pause=""), fresh=fresh, AUTOINSTRUMENT_WORKER=worker)
        assert done.code == 0, done.stderr
        assert done.stdout == "half of it\nall of it\n"
        run = place.mlflow_runs()[-1]
        task = ended(server, run.info.run_id)
        assert link_tags(run)["state"] == "synced"
        assert scalars(server, task["id"]) == place.points(run.info.run_id)
        console = [line for line in server.console(task["id"]).splitlines() if "it" in line.split()]
        tasks.append(
            {
                "console": console,
                "params": section(task, "MLflow"),
                "entry": task["script"]["entry_point"],
                "diff": task["script"]["diff"],
                **{key: task[key] for key in ("status", "name", "project", "tags", "type")},
            }
        )
    assert tasks[0] == tasks[1] == tasks[2]
    wait_for(lambda: not place.left_behind())


def test_a_worker_that_is_a_thread_captures_code_while_the_interpreter_ends(
    place: Place, server: ClearMLServer
) -> None:
    """Each Git command takes so long that the script has ended before the second one: no thread starts any more."""
    script = "import mlflow\nmlflow.start_run()\n"
    place.write("train.py", script)
    place.git("init", "-q", "-b", "main")
    place.git("remote", "add", "origin", "https://git.example.com/team/project.git")
    place.git("add", ".")
    place.git("commit", "-qm", "first")
    place.write("train.py", f"{script}print('changed')\n")
    slow = place.root / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\nsleep 0.5\nexec {shutil.which("git")} "$@"\n')
    slow.chmod(0o755)
    path = f"{slow.parent}{os.pathsep}{os.environ['PATH']}"
    done = place.start("", command=["train.py"], fresh=True, PATH=path, AUTOINSTRUMENT_WORKER="thread").finish()
    assert (done.code, done.stdout) == (0, "changed\n")
    assert len(done.agent_lines) == 1, done.stderr
    section = ended(server, place.the_run().info.run_id)["script"]
    assert section["version_num"] == place.git("rev-parse", "HEAD")
    assert "+print('changed')" in section["diff"]


def test_a_worker_that_is_a_thread_hides_no_module_from_the_script() -> None:
    """Only the worker that is a process imports clearml in parts: elsewhere others import it too."""
    script = """
        import sys

        class Look:
            def find_spec(self, name, *_):
                if name == "clearml":
                    print([sys.modules.get(name, "may be imported") for name in ("pandas", "pyarrow")])

        sys.meta_path.insert(0, Look())
        import pathlib
        from autoinstrument.worker.service import Worker
        from autoinstrument.settings import Settings
        worker = Worker(pathlib.Path("nowhere"), Settings())
        try:
            worker._watch._tasks._session.login.addresses()
        except Exception as error:
            print(type(error).__name__)
        """
    nowhere = {**os.environ, "CLEARML_CONFIG_FILE": "/nowhere/clearml.conf", "CLEARML_API_HOST": ""}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, env=nowhere, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "['may be imported', 'may be imported']", done.stderr


NO_WORKER = """
import pathlib, subprocess, sys, threading, time
import mlflow
class Popen(subprocess.Popen):
    def __init__(self, args, **more):
        if "worker" in args[0]:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        super().__init__(args, **more)
subprocess.Popen = Popen
start = threading.Thread.start
def refuse(thread):
    if {refused} and thread.name.startswith("autoinstrument"):
        raise RuntimeError("can't start new thread")
    start(thread)
threading.Thread.start = refuse
with mlflow.start_run(run_name="first"):
    mlflow.log_metric("loss", 1.0)
    time.sleep(1)
mlflow.start_run(run_name="second")
mlflow.log_metric("loss", 2.0)
pathlib.Path("ended").write_text(str(time.time()))
"""


def test_a_worker_that_cannot_be_started_is_reported_and_the_runs_are_recorded(
    place: Place, server: ClearMLServer
) -> None:
    """Process limits: the agent logs the reason, waits for nothing, and leaves nothing behind."""
    done = place.run(NO_WORKER.format(refused=False))
    assert time.time() - float((place.folder / "ended").read_text()) < AT_ONCE_S, (
        "AUTOINSTRUMENT_EXIT_TIMEOUT is far more"
    )
    assert (done.code, done.stdout) == (0, "")
    assert len(done.agent_lines) == 2, done.stderr
    for name, line in zip(("first", "second"), done.agent_lines, strict=True):
        assert f"run {name}: no worker can be started (BlockingIOError:" in line
        assert line.endswith("; recorded, `autoinstrument sync` completes it later")
    for name in ("first", "second"):
        assert link_tags(place.run_named(name)) == {"state": "pending"}
    assert len(place.journals()) == 2
    assert place.left_behind() == []
    assert place.command("sync").code == 0
    for run in place.mlflow_runs():
        task = ended(server, run.info.run_id)
        assert task["status"] == "completed"
        assert scalars(server, task["id"]) == place.points(run.info.run_id)


def test_a_process_that_can_start_neither_worker_nor_thread_reports_it(place: Place) -> None:
    """No thread can ask MLflow for what must be recorded; the command makes the Tasks from MLflow's store."""
    done = place.run(NO_WORKER.format(refused=True))
    assert (done.code, done.stdout) == (0, "")
    assert len(done.agent_lines) == 2, done.stderr
    for name, line in zip(("first", "second"), done.agent_lines, strict=True):
        assert "no thread can be started" in line
        assert f"`autoinstrument sync --run {place.run_named(name).info.run_id}` makes its Task later" in line
    assert place.left_behind() == []


def test_training_goes_on_when_the_worker_is_killed(place: Place, server: ClearMLServer) -> None:
    """The exit code is 0, the output is whole, and the run's Task becomes complete."""
    started = place.start(SCRIPT.format(pause="time.sleep(2)"))
    wait_for((place.folder / "ready").exists)
    place.kill_workers()
    done = started.finish()
    assert done.code == 0
    assert done.stdout == "half of it\nall of it\n"
    assert len(done.agent_lines) <= 2, done.stderr
    run = place.the_run()
    if link_tags(run).get("state") != "synced":  # the worker is restarted once at most; else it is left to `sync`
        assert place.journals()
        assert link_tags(run).get("state") in ("live", "pending")
        assert place.command("sync").code == 0
    task = ended(server, run.info.run_id)
    assert task["status"] == "completed"
    assert scalars(server, task["id"]) == place.points(run.info.run_id)


def test_a_long_tmpdir_does_not_matter(place: Place, server: ClearMLServer) -> None:
    """A Unix socket's path has 108 bytes; schedulers set TMPDIR to longer ones."""
    folder = place.temporary / ("long-" * 16) / ("folder-" * 8)
    folder.mkdir(parents=True)
    done = place.run("import mlflow\nwith mlflow.start_run():\n    print('x')\n", TMPDIR=str(folder))
    assert done.code == 0
    assert ended(server, place.the_run().info.run_id)["status"] == "completed"


def test_many_points_are_delivered_within_the_exit_time(place: Place, server: ClearMLServer) -> None:
    """20,000 points in batches; nothing is dropped on the way."""
    script = """
        import mlflow, time
        from autoinstrument.agent.process_agent import agent
        from mlflow.entities import Metric
        from mlflow.tracking import MlflowClient
        with mlflow.start_run() as run:
            now = int(time.time() * 1000)
            for start in range(0, 20000, 1000):
                batch = [Metric(f"m{n % 10}", n, now, n // 10) for n in range(start, start + 1000)]
                MlflowClient().log_batch(run.info.run_id, metrics=batch)
        end = time.monotonic() + 180
        while any(run.ended for run in agent()._runs.values()) and time.monotonic() < end:
            time.sleep(0.05)
        print([run.run_id for run in agent()._runs.values() if run.ended])
        """
    done = place.run(script)
    assert done.code == 0, done.stderr
    assert done.stdout == "[]\n", "what is delivered is needed for no second worker"
    task = ended(server, place.the_run().info.run_id)
    assert len(scalars(server, task["id"])) == 20000


def test_everything_is_delivered_without_standard_streams(
    place: Place, server: ClearMLServer, mlflow_server: str
) -> None:
    """A daemon's child has none: the first files that it opens get their numbers, and its children inherit them."""
    place.uri = mlflow_server
    place.write(
        "train.py",
        """
        import io, os, sys, mlflow
        sys.stdout = sys.stderr = io.StringIO()  # MLflow prints addresses, and fails where there is no stdout
        mlflow.set_experiment("without streams")
        for number in range(3):
            with mlflow.start_run(run_name=f"run {number}"):
                mlflow.log_metric("loss", number)
                os.system("echo something; echo something else >&2")
        """,
    )
    closing = "import os, sys; os.close(1); os.close(2); os.execv(sys.executable, [sys.executable, 'train.py'])"
    done = place.run("", command=["-c", closing])
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    client = MlflowClient(mlflow_server)
    runs = client.search_runs([client.get_experiment_by_name("without streams").experiment_id])
    assert len(runs) == 3
    for run in runs:
        task = ended(server, run.info.run_id)
        assert task["status"] == "completed"
        assert scalars(server, task["id"]) == place.points(run.info.run_id)
    assert not place.journals()
