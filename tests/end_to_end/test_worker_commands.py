"""`autoinstrument worker status` and `worker stop` while a training runs."""

from __future__ import annotations

import json

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags, scalars
from tests.end_to_end.processes import Finished, wait_for

SCRIPT = """
import pathlib, time
import mlflow

with mlflow.start_run(run_name="the run"):
    for step in range(100):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    print("half of it", flush=True)
    pathlib.Path("half").touch()
    while not pathlib.Path("go on").exists():
        time.sleep(0.05)
    for step in range(100, 200):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    print("all of it")
"""

COMMAND = """
import os, pathlib, sys
from autoinstrument.cli import main
from autoinstrument.transport import worker_query
# Workers of other tests run on this machine, too: these commands see those below this TMPDIR.
worker_query.folders = lambda: [path.parent for path in pathlib.Path(os.environ["TMPDIR"]).glob("*/socket")]
sys.modules["autoinstrument.cli.worker"]._folders_of_processes = lambda: iter(())
main(sys.argv[1:])
"""


def command(place: Place, *words: str) -> Finished:
    return place.run(COMMAND, *words, name="command.py", agent=False)


def test_a_worker_is_shown_and_stopped_and_the_training_goes_on(place: Place, server: ClearMLServer) -> None:
    """The process starts another worker for the rest; the Task is whole, and its console has each line once."""
    started = place.start(SCRIPT)
    wait_for((place.folder / "half").exists)
    wait_for(lambda: link_tags(place.the_run()).get("state") == "live")
    shown = command(place, "worker", "status", "--json")
    assert shown.code == 0, shown.stderr
    (found,) = json.loads(shown.stdout)
    worker = found["report"]
    (running,) = [process for process in place.workers() if process.name() == "autoinstrument"]
    assert worker["pid"] == running.pid
    assert [process["script"] for process in worker["processes"]] == [str(place.folder / "train.py")]
    assert [run["run_name"] for run in worker["runs"]] == ["the run"]
    text = command(place, "worker", "status").stdout
    assert f"worker {running.pid} (autoinstrument " in text
    stopped = command(place, "worker", "stop", str(running.pid))
    assert stopped.stdout == f"worker {running.pid} has ended; everything is delivered\n", stopped.stderr
    wait_for(lambda: running not in place.workers())
    (place.folder / "go on").touch()
    done = started.finish()
    assert (done.code, done.stdout) == (0, "half of it\nall of it\n"), done.stderr
    _, line = done.agent_lines
    assert "the worker process was stopped by a command; another one continues" in line
    run = place.the_run()
    task = ended(server, run.info.run_id)
    assert task["status"] == "completed"
    assert scalars(server, task["id"]) == place.points(run.info.run_id)
    assert len(place.points(run.info.run_id)) == 200
    lines = [line for line in server.console(task["id"]).splitlines() if line.endswith("of it")]
    assert lines == ["half of it", "all of it"]
    wait_for(lambda: link_tags(place.the_run()).get("state") == "synced")
    wait_for(lambda: not place.left_behind())
    assert place.journals() == []
