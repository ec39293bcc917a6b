"""Programs whose processes are on two hosts: one MLflow run is one Task, with the data of all of them."""

from __future__ import annotations

from tests.hosts.cluster import Cluster, finished, torchrun

RANK = """
import mlflow
import torch.distributed as dist

dist.init_process_group("gloo")
rank = dist.get_rank()
shared = [None]
if rank == 0:
    shared = [mlflow.start_run(run_name="ranks").info.run_id]
dist.broadcast_object_list(shared, src=0)
client = mlflow.MlflowClient()
for step in range(20):
    client.log_metric(shared[0], f"rank{rank}/loss", 1 / (step + 1), step=step)
print("rank", rank, "is done", flush=True)
dist.barrier()
if rank == 0:
    mlflow.end_run()
dist.destroy_process_group()
"""


def test_torchrun(cluster: Cluster) -> None:
    finished(torchrun(cluster, RANK))
    task = cluster.assert_whole(points=80)
    console = cluster.server.console(task["id"])
    print(console); print(sorted(cluster.server.scalars(task["id"]))); print(task["runtime"], task["script"])
    for r in cluster.server.requests:
        if r.endpoint.startswith(('tasks.cr','tasks.edit', 'tasks.get_all')): print(r)
    import subprocess; print(subprocess.getoutput(f'find {cluster.place.home} -name *.log | xargs tail'))
    assert 0
