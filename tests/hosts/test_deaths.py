"""Death of a process, its worker, both, a pod, a host, or the network: one follower elsewhere corrects both sides."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import psutil
import pytest

from tests.end_to_end.harness import properties, scalars
from tests.end_to_end.processes import Started, wait_for
from tests.hosts.cluster import Cluster
from tests.hosts.network import Host, OnHost

TRAIN = """
import pathlib, sys, time
import mlflow

name = sys.argv[1]
with mlflow.start_run(run_name=name), mlflow.start_run(run_name=f"{name}'s child", nested=True):
    mlflow.log_metric("loss", 1.0, step=0)
    while not pathlib.Path(f"{name} may end").exists():
        time.sleep(0.05)
    mlflow.log_metric("loss", 0.5, step=1)
"""
SHORT = {"AUTOINSTRUMENT_DEAD_AFTER": "15"}
LIVE, DEAD = ("RUNNING", "in_progress", "live"), ("KILLED", "stopped", "synced")
COMPLETE = ("FINISHED", "completed", "synced")

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.may_report("the worker process has died|goes on, its Task was stopped|network is unreachable|"
                           "Max retries exceeded|timed out|does not answer|No route to host|no answer"),
]  # fmt: skip


@pytest.fixture
def follower(cluster: Cluster) -> Iterator[Started]:
    started = cluster.follow(**SHORT)
    yield started
    started.kill(signal.SIGTERM)
    assert started.finish().code == 0


def train(cluster: Cluster, host: Host, name: str) -> OnHost:
    """Start a training with a worker of its own."""
    cluster.place.write("train.py", TRAIN)
    return cluster.start(host, "train.py", name, name=f"-{name}", **SHORT)


def are(cluster: Cluster, state: tuple[str, str, str], *names: str) -> bool:
    """Return True if runs and their children have a state on both sides."""
    states = cluster.states()
    return all(states.get(each) == state for name in names for each in (name, f"{name}'s child"))


def test_both_sides_show_each_death(cluster: Cluster, follower: Started) -> None:
    alpha, beta = cluster.hosts
    started = {name: train(cluster, alpha, name) for name in ("process", "worker", "both")}
    train(cluster, beta, "network")
    wait_for(lambda: are(cluster, LIVE, "process", "worker", "both", "network"))
    wait_for(lambda: all(cluster.task_of(run).get("runtime", {}).get("hostname") for run in cluster.runs()))

    (worker,), (of_both,) = cluster.workers(alpha, "-worker"), cluster.workers(alpha, "-both")
    started["process"].kill(signal.SIGKILL)
    psutil.Process(worker.pid).kill()
    psutil.Process(of_both.pid).suspend()  # it must not report the death of its process before it dies, too
    started["both"].kill(signal.SIGKILL)
    psutil.Process(of_both.pid).kill()
    beta.unplug()
    wait_for(lambda: are(cluster, DEAD, "process", "both", "network"))
    reasons = {properties(task)["mlflow_run_id"]: str(task["status_reason"]) for task in cluster.server.tasks}
    causes = {run.info.run_name: reasons[run.info.run_id] for run in cluster.runs() if run.info.status == "KILLED"}
    assert causes["process"].startswith("the process died with the run still open")
    assert causes["both"].endswith(" from alpha")
    assert causes["network"].endswith(" from beta")

    assert are(cluster, LIVE, "worker"), "another worker goes on, and the follower leaves it alone"
    (cluster.place.folder / "worker may end").touch()
    assert started["worker"].finish().code == 0
    wait_for(lambda: are(cluster, COMPLETE, "worker"))

    beta.plug()
    wait_for(lambda: are(cluster, LIVE, "network"))
    beta.kill()
    wait_for(lambda: are(cluster, DEAD, "network"))
    cluster.assert_verified()


def test_a_host_loses_its_power(cluster: Cluster, follower: Started) -> None:
    alpha, _ = cluster.hosts
    train(cluster, alpha, "host")
    wait_for(lambda: are(cluster, LIVE, "host"))
    alpha.unplug()
    alpha.kill()
    wait_for(lambda: are(cluster, DEAD, "host"))
    cluster.assert_verified()


RESUMED = """
import pathlib, sys, time
import mlflow

name, *run_ids = sys.argv[1:]
with mlflow.start_run(run_id=run_ids[0] if run_ids else None, run_name=None if run_ids else "shared"):
    print(name, "is at work", flush=True)
    pathlib.Path(f"{name} is ready").touch()
    while not pathlib.Path(f"{name} may end").exists():
        time.sleep(0.05)
"""


def test_a_host_dies_whose_run_another_host_has_ended(cluster: Cluster, follower: Started) -> None:
    """The first host's worker is cut off, and ends the Task after the second host has resumed the run."""
    (alpha, beta), folder = cluster.hosts, cluster.place.folder
    cluster.place.write("train.py", RESUMED)
    patient = {"AUTOINSTRUMENT_EXIT_TIMEOUT": "600"}  # its worker gives up a minute later, and the second must be there
    first = cluster.start(alpha, "train.py", "first", name="-first", **SHORT, **patient)
    wait_for(lambda: cluster.states().get("shared") == LIVE)
    alpha.cut(cluster.network.clearml)
    (folder / "first may end").touch()
    wait_for(lambda: cluster.the_run().info.status == "FINISHED")
    run_id = cluster.the_run().info.run_id
    cluster.start(beta, "train.py", "second", run_id, name="-second", **SHORT)
    wait_for(lambda: "second is at work" in cluster.server.console(cluster.task_of(cluster.the_run())["id"]))
    cluster.server.clear_requests()
    alpha.heal(cluster.network.clearml)
    assert first.finish().code == 0
    wait_for(lambda: "tasks.completed" in [call.endpoint for call in cluster.server.requests])
    wait_for(lambda: cluster.states()["shared"] == LIVE)
    wait_for(lambda: not cluster.workers(alpha, "-first"))
    assert cluster.states()["shared"] == LIVE
    beta.kill()
    wait_for(lambda: cluster.states()["shared"] == DEAD)
    cluster.assert_verified()


BY_ID = """
import pathlib, sys, time
import mlflow

client, step = mlflow.MlflowClient(), 0
while not pathlib.Path("the rank may end").exists():
    client.log_metric(sys.argv[1], "rank1/loss", 1.0, step=step)
    step += 1
    time.sleep(0.5)
"""


def test_the_host_of_rank_0_dies(cluster: Cluster, follower: Started) -> None:
    """Ranks log to its run by the run's id, whichever launcher has started them: it ends with the last one."""
    (alpha, beta), folder = cluster.hosts, cluster.place.folder
    cluster.place.write("train.py", RESUMED)
    cluster.start(alpha, "train.py", "rank 0", name="-rank-0", **SHORT)
    wait_for(lambda: cluster.states().get("shared") == LIVE)
    cluster.place.write("rank.py", BY_ID)
    run = cluster.the_run()
    rank = cluster.start(beta, "rank.py", run.info.run_id, name="-rank-1", **SHORT)
    wait_for(lambda: scalars(cluster.server, cluster.task_of(run)["id"]))
    alpha.kill()
    began = len(cluster.points(run))
    wait_for(lambda: len(cluster.points(run)) > began + 60)  # 30 s, twice what a silent run is given
    assert cluster.states()["shared"] == LIVE
    (folder / "the rank may end").touch()
    assert rank.finish().code == 0
    wait_for(lambda: cluster.states()["shared"] == DEAD)
    assert scalars(cluster.server, cluster.task_of(run)["id"]) == cluster.points(run)
    cluster.assert_verified()
