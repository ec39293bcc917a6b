"""The training process dies at any moment: it dies as it would without the agent, and the Task is complete."""

from __future__ import annotations

import os
import signal

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags, scalars, tasks_of
from tests.end_to_end.processes import wait_for
from tests.problems import OF_FAULTS

pytestmark = pytest.mark.may_report(OF_FAULTS)

LOOP = """
import pathlib, time
import mlflow

mlflow.start_run(run_name="loop")
mlflow.log_param("lr", 0.1)
for step in range(2000):
    mlflow.log_metric("loss", 1 / (step + 1), step=step)
    if step == {at}:
        pathlib.Path("ready").write_text("now")
print("all steps done")
pathlib.Path("done").write_text("now")
time.sleep(600)
"""


def assert_stopped_and_complete(place: Place, server: ClearMLServer, reason: str = "") -> None:
    """The Task is stopped with a reason within seconds, holds MLflow's points, and nothing is left behind."""
    run = place.the_run()
    assert run.info.status == "RUNNING"
    task = ended(server, run.info.run_id)
    assert task["status"] == "stopped"
    assert reason in task["status_reason"]
    assert task["status_reason"]
    assert scalars(server, task["id"]) == place.points(run.info.run_id)
    wait_for(lambda: link_tags(place.the_run()).get("state") == "synced")
    wait_for(lambda: not place.left_behind())
    assert place.journals() == []


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_killed_in_the_middle_of_a_loop(place: Place, server: ClearMLServer, name: str) -> None:
    number = getattr(signal, name)
    started = place.start(LOOP.format(at=300))
    wait_for((place.folder / "ready").exists)
    started.kill(number)
    assert started.finish().code == -number
    assert_stopped_and_complete(place, server)
    assert len(scalars(server, ended(server, place.the_run().info.run_id)["id"])) >= 300


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_right_after_start_run(place: Place, server: ClearMLServer, number: int) -> None:
    """There is a Task for every run that MLflow has."""
    script = f"import os, mlflow\nmlflow.start_run()\nos.kill(os.getpid(), {int(number)})\n"
    assert place.run(script).code == -number
    run_id = place.the_run().info.run_id
    wait_for(lambda: tasks_of(server, run_id))
    assert_stopped_and_complete(place, server)


def test_killed_at_the_end_of_a_loop(place: Place, server: ClearMLServer) -> None:
    """The last points and the last line of the console are there."""
    started = place.start(LOOP.format(at=-1).replace("2000", "500"))
    wait_for((place.folder / "done").exists)
    started.kill(signal.SIGKILL)
    assert started.finish().code == -signal.SIGKILL
    assert_stopped_and_complete(place, server)
    task = ended(server, place.the_run().info.run_id)
    assert len(scalars(server, task["id"])) == 500


def test_killed_while_idle_keeps_the_console(place: Place, server: ClearMLServer) -> None:
    started = place.start(LOOP.format(at=-1).replace("2000", "20"))
    wait_for((place.folder / "done").exists)
    wait_for(lambda: "all steps done" in place.console_on_disk())
    started.kill(signal.SIGTERM)
    assert started.finish().code == -signal.SIGTERM
    assert_stopped_and_complete(place, server)
    assert "all steps done" in server.console(ended(server, place.the_run().info.run_id)["id"])


@pytest.mark.parametrize(
    ("death", "code"),
    [
        ("os._exit(5)", 5),
        ("ctypes.string_at(0)", -signal.SIGSEGV),
        ("os.abort()", -signal.SIGABRT),
    ],
)
def test_a_process_that_ends_without_exit_handlers(place: Place, server: ClearMLServer, death: str, code: int) -> None:
    """`os._exit` and crashes of the interpreter run no at-exit handler; the Task is stopped anyway."""
    script = f"""
        import ctypes, os
        import mlflow
        mlflow.start_run()
        for step in range(300):
            mlflow.log_metric("loss", step, step=step)
        {death}
        """
    assert place.run(script).code == code
    assert_stopped_and_complete(place, server)


def test_the_working_directory_is_deleted_with_the_process(place: Place, server: ClearMLServer) -> None:
    """A ClearML agent does so for its next job, while the worker still reads from MLflow and writes the link."""
    script = """
        import os, shutil, signal
        import mlflow
        mlflow.start_run()
        mlflow.log_metric("loss", 1.0)
        shutil.rmtree(os.getcwd())
        os.kill(os.getpid(), signal.SIGKILL)
        """
    home = os.path.relpath(place.home, place.folder)
    assert place.run(script, AUTOINSTRUMENT_HOME=home).code == -signal.SIGKILL
    assert_stopped_and_complete(place, server)


def test_death_right_after_the_end_of_a_run(place: Place, server: ClearMLServer) -> None:
    """A death after a run's end does not stop the run: forked children always leave by `os._exit`."""
    script = """
        import multiprocessing, os
        import mlflow

        def train(name):
            with mlflow.start_run(run_name=name):
                for step in range(20):
                    mlflow.log_metric("loss", step, step=step)
                if name == "child 2":
                    raise ValueError("no such layer")

        if __name__ == "__main__":
            for number in range(3):
                child = multiprocessing.get_context("fork").Process(target=train, args=(f"child {number}",))
                child.start()
                child.join()
            train("parent")
            os._exit(0)
        """
    assert place.run(script).code == 0
    for run in place.mlflow_runs():
        task = ended(server, run.info.run_id)
        failed = run.info.run_name == "child 2"
        end = ("failed", "ValueError: no such layer") if failed else ("completed", "")
        assert (task["status"], task["status_reason"]) == end, run.info.run_name
        assert scalars(server, task["id"]) == place.points(run.info.run_id)
        assert len(place.points(run.info.run_id)) == 20
    assert len(place.mlflow_runs()) == 4
    wait_for(lambda: not place.left_behind())
    assert place.journals() == []


def test_interrupted_outside_with(place: Place, server: ClearMLServer) -> None:
    """Ctrl-C is a stop and not a failure, and the shell sees the same exit status."""
    started = place.start(LOOP.format(at=100).replace("2000", "500"))
    wait_for((place.folder / "done").exists)  # inside a call of MLflow's it may become another exception
    started.kill(signal.SIGINT)
    done = started.finish()
    assert done.code == -signal.SIGINT
    assert "KeyboardInterrupt" in done.stderr
    run = place.the_run()
    task = ended(server, run.info.run_id)
    assert task["status"] == "stopped"
    assert "interrupt" in task["status_reason"].lower()
    assert scalars(server, task["id"]) == place.points(run.info.run_id)


def test_interrupted_inside_with(place: Place, server: ClearMLServer) -> None:
    """MLflow calls such a run FAILED; in ClearML, too, Ctrl-C is a stop."""
    script = """
        import pathlib, time, mlflow
        with mlflow.start_run():
            mlflow.log_metric("loss", 1.0)
            pathlib.Path("ready").write_text("now")
            time.sleep(600)
        """
    started = place.start(script)
    wait_for((place.folder / "ready").exists)
    started.kill(signal.SIGINT)
    assert started.finish().code == -signal.SIGINT
    task = ended(server, place.the_run().info.run_id)
    assert task["status"] == "stopped"
    assert "KeyboardInterrupt" in task["status_reason"]


@pytest.mark.may_report("database is locked")
def test_interrupted_inside_a_call_of_mlflows(place: Place, server: ClearMLServer) -> None:
    """Ctrl-C between a query and its end keeps SQLite locked: MLflow's own exception takes its place, agent or not."""
    script = """
        import threading
        import mlflow
        from sqlalchemy.engine.default import DefaultDialect

        execute, waits = DefaultDialect.do_execute, []

        def interrupted(self, cursor, statement, *more):
            execute(self, cursor, statement, *more)
            if waits and statement.startswith("SELECT") and threading.current_thread() is threading.main_thread():
                waits.clear()
                raise KeyboardInterrupt

        DefaultDialect.do_execute = interrupted
        with mlflow.start_run():
            mlflow.log_metric("loss", 1.0, step=0)
            waits.append(True)
            mlflow.log_metric("loss", 1.0, step=1)
        """
    codes = [place.run(script, agent=agent).code for agent in (True, False)]
    assert codes[0] == codes[1] != 0


def test_the_scripts_own_handler_of_sigterm_decides(place: Place, server: ClearMLServer) -> None:
    """A handler that ends the script with success makes a completed Task."""
    script = """
        import pathlib, signal, sys, time, mlflow
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        mlflow.start_run()
        mlflow.log_metric("loss", 1.0)
        pathlib.Path("ready").write_text("now")
        time.sleep(600)
        """
    started = place.start(script)
    wait_for((place.folder / "ready").exists)
    started.kill(signal.SIGTERM)
    assert started.finish().code == 0
    wait_for(lambda: not place.workers())
    task = ended(server, place.the_run().info.run_id)
    assert task["status"] == "completed"


def test_the_worker_survives_its_process_group(place: Place, server: ClearMLServer) -> None:
    """Job control and schedulers signal the whole process group; the worker is in a separate session."""
    script = LOOP.format(at=300).replace("import pathlib", "import os, pathlib; os.setpgrp()\nimport pathlib")
    started = place.start(script)
    wait_for((place.folder / "ready").exists)
    os.killpg(started.process.pid, signal.SIGKILL)
    assert started.finish().code == -signal.SIGKILL
    assert_stopped_and_complete(place, server)
