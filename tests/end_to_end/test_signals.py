"""Signals to all processes of a job, as schedulers send them: they are meant for the training, and the worker stays."""

from __future__ import annotations

import contextlib
import json
import signal

import psutil

from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.harness import Place, ended, link_tags, scalars
from tests.end_to_end.processes import Started, wait_for

SCRIPT = """
import pathlib, signal, time
import mlflow

signal.signal(signal.SIGUSR1, lambda *_: print("checkpoint", flush=True))
mlflow.start_run()
for step in range(400):
    mlflow.log_metric("loss", 1 / (step + 1), step=step)
    print("step", step)
    for name, until in (("first", 100), ("second", 200), ("third", 300)):
        if step == until:
            pathlib.Path(name).touch()
            while not pathlib.Path(name + " signalled").exists():
                time.sleep(0.01)
"""


def signal_all(place: Place, started: Started, number: int) -> None:
    """Send a signal to the script and to all processes of the agent."""
    for process in [psutil.Process(started.process.pid), *place.workers()]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def at(place: Place, name: str) -> None:
    wait_for((place.folder / name).exists)


def go_on(place: Place, name: str) -> None:
    (place.folder / f"{name} signalled").touch()


def test_checkpoint_signals_and_a_cancelled_job_lose_nothing(place: Place, server: ClearMLServer) -> None:
    """SIGUSR1 twice, then SIGTERM, to all processes of the job: one worker delivers all points and the console."""
    started = place.start(SCRIPT)
    at(place, "first")
    (worker,) = wait_for(lambda: [each for each in place.workers() if each.name() == "autoinstrument"])
    signal_all(place, started, signal.SIGUSR1)
    go_on(place, "first")
    at(place, "second")
    wait_for(lambda: link_tags(place.the_run()).get("state") == "live")
    signal_all(place, started, signal.SIGUSR1)
    go_on(place, "second")
    at(place, "third")
    assert place.workers() == [worker]
    (journal,) = place.journals()
    wait_for(lambda: "step 300" in (journal / "console.jsonl").read_text())
    signal_all(place, started, signal.SIGTERM)
    done = started.finish()
    assert done.code == -signal.SIGTERM
    assert len(done.agent_lines) == 1, done.stderr
    run = place.the_run()
    task = ended(server, run.info.run_id)
    assert task["status"] == "stopped"
    assert scalars(server, task["id"]) == place.points(run.info.run_id)
    assert len(place.points(run.info.run_id)) == 301
    console = [line for line in server.console(task["id"]).splitlines() if line.startswith(("step", "checkpoint"))]
    assert [line for line in console if line.startswith("step")] == [f"step {step}" for step in range(301)]
    assert console.count("checkpoint") == 2
    wait_for(lambda: link_tags(place.the_run()).get("state") == "synced")
    wait_for(lambda: not place.left_behind())
    assert place.journals() == []


def is_ready(place: Place, worker: psutil.Process, lost: list[psutil.Process]) -> bool:
    """Return True if a worker runs that was not killed, and has taken over the run."""
    captured = [json.loads((journal / "capture.json").read_text())["worker_pid"] for journal in place.journals()]
    return worker not in lost and captured == [worker.pid]


def test_a_worker_that_is_lost_is_reported(place: Place, server: ClearMLServer) -> None:
    """SIGKILL, as by the out-of-memory killer, again and again: one line, and another worker goes on each time."""
    started = place.start(SCRIPT)
    wait_for(lambda: place.mlflow_runs() and link_tags(place.the_run()).get("state") == "live")
    lost: list[psutil.Process] = []
    for name in ("first", "second", "third"):
        at(place, name)
        (worker,) = wait_for(lambda: [each for each in place.workers() if is_ready(place, each, lost)])
        worker.kill()
        lost.append(worker)
        go_on(place, name)
    done = started.finish()
    assert done.code == 0
    _, line = done.agent_lines
    assert "the worker process has died; another one continues" in line
    run = place.the_run()
    assert link_tags(run)["state"] == "synced"
    task = ended(server, run.info.run_id)
    assert task["status"] == "completed"
    assert scalars(server, task["id"]) == place.points(run.info.run_id)


def test_a_late_delivery_is_not_called_a_silent_server(own_place: Place, own_server: ClearMLServer) -> None:
    """ClearML answers, but not in time: one line names all runs, and the worker goes on and finishes."""
    script = """
        import mlflow, pathlib, time
        for name in ("a", "b"):
            with mlflow.start_run(run_name=name):
                mlflow.log_metric("loss", 1.0)
                while name == "a" and not pathlib.Path("slow").exists():
                    time.sleep(0.05)
        """
    started = own_place.start(script, AUTOINSTRUMENT_EXIT_TIMEOUT="2")
    wait_for(lambda: own_place.mlflow_runs() and link_tags(own_place.the_run()).get("state") == "live")
    slow = own_server.faults.add(Fault(endpoints="tasks.completed", action="hang"))
    (own_place.folder / "slow").touch()
    done = started.finish()
    *linked, late = done.agent_lines
    assert "run a is ClearML Task" in linked[0]
    assert len(linked) == 1 or "run b is ClearML Task" in linked[1]  # it does not wait for a
    assert "2 runs (a, b): not delivered to ClearML within 2 s, the worker continues; recorded, " in late
    own_server.faults.remove(slow)
    wait_for(lambda: [link_tags(run).get("state") for run in own_place.mlflow_runs()] == ["synced", "synced"])
    assert [task["status"] for task in own_server.tasks] == ["completed", "completed"]
    assert own_place.journals() == []


def test_hundreds_of_runs_are_few_lines_whatever_sys_stderr_is(place: Place, server: ClearMLServer) -> None:
    """The lines belong to the process's own stderr; `AUTOINSTRUMENT_QUIET=1` leaves them out."""
    script = """
        import contextlib, io, os, sys
        with contextlib.redirect_stderr(io.StringIO()) as captured:
            import mlflow
            from autoinstrument.agent.process_agent import agent
            for number in range(8):
                with mlflow.start_run(run_name=f"run {number}"):
                    pass
            agent().finish()
        print("autoinstrument" in captured.getvalue(), flush=True)
        os._exit(0)  # else the end, called once more, would wait for a store that it has closed, until its time is over
        """
    done = place.run(script)
    assert (done.code, done.stdout) == (0, "False\n")
    assert len(done.agent_lines) == 6, done.stderr
    assert "3 more runs have their ClearML Tasks; the last one: run run " in done.agent_lines[-1]
    assert place.run("", command=["train.py"], AUTOINSTRUMENT_QUIET="1").agent_lines == []
