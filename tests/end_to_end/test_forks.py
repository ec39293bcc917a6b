"""A process that forks while the agent is at work: its children must not inherit locks of the agent's threads."""

from __future__ import annotations

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended

pytestmark = pytest.mark.usefixtures("whole_end")

SCRIPT = """
import os, sqlite3, time
import mlflow

store = os.environ["MLFLOW_TRACKING_URI"].removeprefix("sqlite:///")
mlflow.start_run()
children = []
for number in range(150):
    child = os.fork()
    if child == 0:
        time.sleep(1)
        try:
            base = sqlite3.connect(store, timeout=5, isolation_level=None)
            base.execute("BEGIN IMMEDIATE")
            base.execute("COMMIT")
        except sqlite3.OperationalError as error:
            os.write(1, f"{error}\\n".encode())
            os._exit(1)
        os._exit(0)
    children.append(child)
    time.sleep(0.002)
assert not sum(os.waitpid(child, 0)[1] for child in children)
mlflow.end_run()
"""


def test_children_can_write_to_mlflows_store_whenever_they_were_forked(place: Place, server: ClearMLServer) -> None:
    """SQLite keeps account of locks in the process's memory: a child that is forked while a thread of the agent writes
    the link tags finds the store locked from then on (seen with SQLite 3.40: `database is locked`).
    """
    done = place.run(SCRIPT)
    assert done.stdout == ""
    assert done.code == 0, done.stderr
    task = ended(server, place.the_run().info.run_id)
    assert task["status"] == "completed"
    assert place.the_run().data.tags["clearml.state"] == "synced"
