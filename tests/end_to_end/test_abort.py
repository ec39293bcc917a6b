"""Stopping a Task in ClearML's web UI stops the training, as SIGTERM would."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest
import requests

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags, task_of
from tests.end_to_end.processes import PATIENCE_S, wait_for

pytestmark = pytest.mark.may_report("aborted in ClearML")

SCRIPT = """
import pathlib, time, mlflow
with mlflow.start_run():
    mlflow.log_metric("loss", 1.0)
    pathlib.Path("ready").write_text("now")
    time.sleep({seconds})
"""


def stop(server: ClearMLServer, task_id: str) -> None:
    """Stop a Task as the button in the web UI does."""
    requests.post(
        f"{server.api_url}/tasks.stop",
        json={"task": task_id, "status_reason": "by a person"},
        auth=(server.credentials.access_key, server.credentials.secret_key),
        timeout=PATIENCE_S,
    ).raise_for_status()


@pytest.mark.slow
def test_a_stopped_task_stops_the_training_unless_that_is_switched_off(
    own_place: Place, own_server: ClearMLServer, server: ClearMLServer, new_place: Callable[[ClearMLServer], Place]
) -> None:
    """Within a minute; the run is KILLED, and the Task stays stopped. Meanwhile a Task is asked about once a minute.

    Beside it another training goes on to its end, and so does its Task: with `AUTOINSTRUMENT_ABORT=off`.
    """
    other = new_place(server)
    going_on = other.start(SCRIPT.format(seconds=62), AUTOINSTRUMENT_ABORT="off")
    started = own_place.start(SCRIPT.format(seconds=600))
    for place in (own_place, other):
        wait_for((place.folder / "ready").exists)
    run, run_that_goes_on = own_place.the_run(), other.the_run().info.run_id
    wait_for(lambda: link_tags(other.mlflow_run(run_that_goes_on)) and own_server.calls("events.add_batch"))
    stop(server, task_of(server, run_that_goes_on)["id"])
    time.sleep(1)
    own_server.clear_requests()
    (task,) = own_server.tasks
    stop(own_server, task["id"])
    done = started.finish()
    assert done.code == -signal.SIGTERM
    assert "by a person; this process receives SIGTERM" in done.agent_lines[-1]
    assert len(own_server.calls("tasks.get_all")) == 1
    wait_for(lambda: own_place.the_run().info.status == "KILLED")
    task = ended(own_server, run.info.run_id)
    assert task["status"] == "stopped"
    wait_for(lambda: "aborted in ClearML" in own_server.task(task["id"])["status_reason"])
    wait_for(lambda: own_place.journals() == [])

    assert going_on.finish().code == 0
    assert ended(server, run_that_goes_on)["status"] == "completed"


def test_a_worker_that_is_a_thread_logs_why_it_ends_its_process(place: Place, server: ClearMLServer) -> None:
    script = "import autoinstrument.worker.abort_watcher as watch\nwatch._EVERY_S = 0.5\n" + SCRIPT.format(seconds=600)
    started = place.start(script, AUTOINSTRUMENT_WORKER="thread")
    wait_for((place.folder / "ready").exists)
    wait_for(lambda: link_tags(place.the_run()).get("state") == "live")
    stop(server, task_of(server, place.the_run().info.run_id)["id"])
    done = started.finish()
    assert done.code == -signal.SIGTERM
    assert "by a person; this process receives SIGTERM" in done.agent_lines[-1]
    assert place.the_run().info.status == "KILLED"
