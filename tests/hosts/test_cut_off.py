"""Networks that break for a while: between a host and ClearML, a host and MLflow, and the hosts themselves."""

from __future__ import annotations

import time

import pytest

from tests.end_to_end.harness import properties, scalars
from tests.end_to_end.processes import wait_for
from tests.hosts.cluster import Cluster, finished, torchrun

CUT_S = 60.0
"""Longer than a rank waits for the Task of the run, and than a request to ClearML, which is given up meanwhile."""

RANK = """
import pathlib, time
import mlflow, torch
import torch.distributed as dist

dist.init_process_group("gloo")
rank = dist.get_rank()
shared = [None]
if rank == 0:
    shared = [mlflow.start_run(run_name="ranks").info.run_id]
dist.broadcast_object_list(shared, src=0)
client = mlflow.MlflowClient()
for phase in range(4):
    for step in range(10):
        client.log_metric(shared[0], f"rank{rank}/loss", phase + step / 10, step=10 * phase + step)
    client.log_metric(shared[0], f"rank{rank}/phase{phase}", 1.0)
    print("rank", rank, "phase", phase, flush=True)
    pathlib.Path(f"rank {rank} phase {phase}").touch()
    while not pathlib.Path(f"after phase {phase}").exists():
        dist.all_reduce(torch.ones(1))
        time.sleep(0.1)
    dist.barrier()
if rank == 0:
    mlflow.end_run()
dist.destroy_process_group()
"""

pytestmark = [pytest.mark.timeout(1200), pytest.mark.may_report("does not answer|no answer|timed out|Max retries")]


def reached(cluster: Cluster, phase: int) -> None:
    wait_for(lambda: all((cluster.place.folder / f"rank {rank} phase {phase}").exists() for rank in (0, 1)))


def go_on(cluster: Cluster, phase: int) -> None:
    (cluster.place.folder / f"after phase {phase}").touch()


def test_nothing_is_lost_after_it_heals(cluster: Cluster) -> None:
    (alpha, beta), network = cluster.hosts, cluster.network
    alpha.cut(network.clearml)  # rank 0's worker cannot make the Task, and that of rank 1 does
    started = torchrun(cluster, RANK, ranks=1)
    reached(cluster, 0)
    wait_for(lambda: [status for _, status, _ in cluster.states().values()] == ["in_progress"])
    alpha.heal(network.clearml)
    wait_for(lambda: next(iter(cluster.states().values()))[1:] == ("in_progress", "live"))

    beta.cut(network.clearml)
    go_on(cluster, 0)
    reached(cluster, 1)
    time.sleep(CUT_S)
    beta.heal(network.clearml)

    alpha.cut(beta.address)
    go_on(cluster, 1)
    time.sleep(CUT_S)
    alpha.heal(beta.address)
    reached(cluster, 2)

    for host in (alpha, beta):
        host.cut(network.mlflow)
    go_on(cluster, 2)
    time.sleep(CUT_S)
    for host in (alpha, beta):
        host.heal(network.mlflow)
    reached(cluster, 3)
    go_on(cluster, 3)
    finished(started)

    task = cluster.assert_whole(points=2 * 44)
    assert (
        len(
            [
                each
                for each in cluster.server.tasks
                if properties(each).get("mlflow_run_id") == cluster.the_run().info.run_id
            ]
        )
        == 1
    )
    assert task["runtime"]["hostname"] == "alpha"
    assert "--node-rank=0" in task["script"]["entry_point"]
    assert scalars(cluster.server, task["id"]) == cluster.points(cluster.the_run())
    lines = set(cluster.server.console(task["id"]).splitlines())
    assert {f"rank 0 phase {phase}" for phase in range(4)} <= lines
