"""gevent and eventlet replace threads by parts of one thread: no such script hangs or loses anything."""

from __future__ import annotations

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, scalars

SCRIPT = """
import warnings
warnings.simplefilter("ignore")
{replace}
import signal, subprocess, time
import mlflow
client = mlflow.MlflowClient()

def work(number):
    run_id = client.create_run("0", run_name=str(number)).info.run_id
    for step in range(20):
        client.log_metric(run_id, "loss", number, step=step)
        time.sleep(0.001)
    client.set_terminated(run_id)

for greenlet in [{spawn}(work, number) for number in range(3)]:
    greenlet.{wait}()
print(subprocess.check_output(["echo", "a child has ended"], text=True), signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""


@pytest.mark.parametrize(
    ("replace", "spawn", "wait"),
    [
        ("import gevent.monkey; gevent.monkey.patch_all()", "gevent.spawn", "get"),
        ("import mlflow, gevent.monkey; gevent.monkey.patch_all()", "gevent.spawn", "get"),
        ("import eventlet; eventlet.monkey_patch()", "eventlet.spawn", "wait"),
    ],
    ids=["gevent", "gevent after MLflow", "eventlet"],
)
def test_runs_in_greenlets(own_place: Place, own_server: ClearMLServer, replace: str, spawn: str, wait: str) -> None:
    done = own_place.run(SCRIPT.format(replace=replace, spawn=spawn, wait=wait), fresh=True)
    assert (done.code, done.stdout) == (0, "a child has ended\n set()\n"), done.stderr
    assert len(done.agent_lines) == 3, done.stderr
    runs = own_place.mlflow_runs()
    assert {run.info.run_name for run in runs} == {"0", "1", "2"}
    for run in runs:
        task = ended(own_server, run.info.run_id)
        assert len(own_place.points(run.info.run_id)) == 20
        assert scalars(own_server, task["id"]) == own_place.points(run.info.run_id)
