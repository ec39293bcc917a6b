"""Signals to all processes of a job, as schedulers send them: they are meant for the training, and the worker stays."""

from __future__ import annotations

import contextlib
import signal

import psutil

from tests.clearml_server import ClearMLServer
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
    wait_for((place.folder / name).exists, 40)


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
    wait_for(lambda: link_tags(place.the_run()).get("state") == "live", 30)
    signal_all(place, started, signal.SIGUSR1)
    go_on(place, "second")
    at(place, "third")
    assert place.workers() == [worker]
    (capture,) = place.captures()
    wait_for(lambda: "step 300" in (capture / "console.jsonl").read_text())
    signal_all(place, started, signal.SIGTERM)
    done = started.finish()
    assert done.code == -signal.SIGTERM
    assert len(done.said) == 1, done.stderr
    run = place.the_run()
    task = ended(server, run.info.run_id)
    assert task["status"] == "stopped"
    assert scalars(server, task["id"]) == place.points(run.info.run_id)
    assert len(place.points(run.info.run_id)) == 301
    console = [line for line in server.console(task["id"]).splitlines() if line.startswith(("step", "checkpoint"))]
    assert [line for line in console if line.startswith("step")] == [f"step {step}" for step in range(301)]
    assert console.count("checkpoint") == 2
    wait_for(lambda: link_tags(place.the_run()).get("state") == "synced")
    wait_for(lambda: not place.left_behind(), 20)
    assert place.captures() == []
