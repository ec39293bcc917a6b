"""The end of a script decides the Task's status, and is the same as without the agent."""

from __future__ import annotations

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags, scalars
from tests.end_to_end.processes import wait_for

whole_end = pytest.mark.usefixtures("whole_end")
"""One test of each kind of end: the others' scripts are forks, whose last collections are left out."""


@whole_end
def test_an_exception_inside_with_is_a_failure_with_its_traceback(place: Place, server: ClearMLServer) -> None:
    """Reason and message are the exception's own line, the console has the traceback, and Python's exit code is 1."""
    script = """
        import mlflow
        def train():
            raise ValueError("no such layer")
        with mlflow.start_run():
            mlflow.log_metric("loss", 1.0)
            train()
        """
    done = place.run(script)
    assert done.code == 1
    assert "\nValueError: no such layer\n" in done.stderr
    assert done.stderr.count("Traceback") == 1
    task = ended(server, place.the_run().info.run_id)
    assert task["status"] == "failed"
    assert task["status_reason"] == task["status_message"] == "ValueError: no such layer"
    console = server.console(task["id"])
    assert console.count("Traceback (most recent call last)") == 1
    assert console.index("in <module>") < console.index("in train") < console.index("\nValueError: no such layer\n")


@whole_end
def test_an_exception_outside_with_is_a_failure_though_mlflow_says_finished(
    place: Place, server: ClearMLServer
) -> None:
    """MLflow's at-exit handler calls the run FINISHED (mlflow#3932); the Task shows the failure."""
    script = """
        import mlflow
        mlflow.start_run()
        mlflow.log_metric("loss", 1.0)
        {}["lost"]
        """
    done = place.run(script)
    assert done.code == 1
    run = place.the_run()
    assert run.info.status == "FINISHED"
    task = ended(server, run.info.run_id)
    assert task["status"] == "failed"
    assert task["status_reason"] == "KeyError: 'lost'"
    assert task["status_message"] == "KeyError: 'lost'"
    assert server.console(task["id"]).count("Traceback (most recent call last)") == 1
    assert link_tags(place.the_run())["state"] == "synced"


@pytest.mark.parametrize(
    ("statement", "code"),
    [("sys.exit(3)", 3), ("raise SystemExit(3)", 3), ("sys.exit('no data')", 1), ("exit(7)", 7)],
)
def test_a_non_zero_exit_is_a_failure_with_its_code(
    place: Place, server: ClearMLServer, request: pytest.FixtureRequest, statement: str, code: int
) -> None:
    if statement == "sys.exit(3)":
        request.getfixturevalue("whole_end")
    script = f"""
        import sys
        import mlflow
        mlflow.start_run()
        mlflow.log_metric("loss", 1.0)
        {statement}
        """
    done = place.run(script)
    assert done.code == code
    run = place.the_run()
    wait_for(lambda: not place.workers())  # the exit code is known when the process is gone, and the status after it
    task = ended(server, run.info.run_id)
    assert task["status"] == "failed"
    assert str(code) in task["status_reason"]


@pytest.mark.parametrize("statement", ["sys.exit(0)", "raise SystemExit"])
def test_an_exit_with_zero_is_completed(place: Place, server: ClearMLServer, statement: str) -> None:
    done = place.run(f"import sys, mlflow\nmlflow.start_run()\nmlflow.log_metric('loss', 1.0)\n{statement}\n")
    assert done.code == 0
    wait_for(lambda: not place.workers())
    assert ended(server, place.the_run().info.run_id)["status"] == "completed"


def test_a_run_that_ended_well_stays_completed_when_the_script_fails_later(place: Place, server: ClearMLServer) -> None:
    """A caught failure fails its own run alone, and a crash after a run's end is not that run's."""
    script = """
        import sys
        import mlflow
        try:
            with mlflow.start_run(run_name="caught"):
                raise ValueError("caught")
        except ValueError:
            pass
        with mlflow.start_run(run_name="good"):
            mlflow.log_metric("loss", 1.0)
        mlflow.start_run(run_name="open")
        sys.exit(4)
        """
    assert place.run(script).code == 4
    wait_for(lambda: not place.workers())
    status = {name: ended(server, place.run_named(name).info.run_id)["status"] for name in ("caught", "good", "open")}
    assert status == {"caught": "failed", "good": "completed", "open": "failed"}
    console = server.console(ended(server, place.run_named("caught").info.run_id)["id"])
    assert console.count("Traceback (most recent call last)") == 1, "no code has printed it"
    assert console.endswith("\nValueError: caught\n")


def test_a_client_run_that_was_never_terminated_is_not_left_running(place: Place, server: ClearMLServer) -> None:
    """MLflow keeps the status RUNNING; the process that made the run is gone, so the Task must end."""
    script = """
        from mlflow.tracking import MlflowClient
        client = MlflowClient()
        run = client.create_run("0")
        for step in range(100):
            client.log_metric(run.info.run_id, "loss", step, step=step)
        """
    assert place.run(script).code == 0
    run = place.the_run()
    task = ended(server, run.info.run_id)
    assert task["status"] == "stopped"
    assert task["status_reason"]
    assert scalars(server, task["id"]) == place.points(run.info.run_id)


@pytest.mark.may_report("describing a run failed")
def test_a_run_that_mlflow_does_not_describe_at_once_is_described_later(place: Place, server: ClearMLServer) -> None:
    """By the process, while it trains; if the process does not get to it, by the worker when the process is gone."""
    script = """
        import time
        import mlflow
        import autoinstrument.mlflow_store.describe as runs

        ask, failures = runs.tracking_client, 1
        def client(uri):
            global failures
            failures -= 1
            if failures >= 0:
                raise OSError("no answer")
            return ask(uri)
        runs.tracking_client = client

        def is_linked(run):
            return "clearml.task_id" in mlflow.MlflowClient().get_run(run.info.run_id).data.tags

        with mlflow.start_run(run_name="later") as run:
            mlflow.log_metric("loss", 1.0)
            end = time.monotonic() + 180
            while not is_linked(run) and time.monotonic() < end:
                time.sleep(0.1)
            print(is_linked(run))
        runs._experiments.clear()
        failures = 1000
        with mlflow.start_run(run_name="never"):
            mlflow.log_metric("loss", 1.0)
        try:
            with mlflow.start_run(run_name="failed"):
                raise ValueError("no such layer")
        except ValueError:
            print("goes on")
        """
    done = place.run(script)
    assert (done.code, done.stdout) == (0, "True\ngoes on\n"), done.stderr
    for name, status in (("later", "completed"), ("never", "completed"), ("failed", "failed")):
        run = place.run_named(name)
        task = ended(server, run.info.run_id)
        assert task["status"] == status, name
        assert scalars(server, task["id"]) == place.points(run.info.run_id)
    assert task["status_reason"] == "ValueError: no such layer"
    assert sum("describing a run" in line for line in done.agent_lines) == 1, done.stderr


@whole_end
def test_console_text_without_a_newline_at_the_end_is_kept(place: Place, server: ClearMLServer) -> None:
    """And a traceback that Python prints on stderr is in the console."""
    script = """
        import sys, mlflow
        mlflow.start_run()
        sys.stdout.write("half a line")
        raise RuntimeError("the end")
        """
    done = place.run(script)
    assert done.stdout == "half a line"
    console = server.console(ended(server, place.the_run().info.run_id)["id"])
    assert "half a line" in console
    assert "RuntimeError: the end" in console
