"""Launchers and pools of real frameworks: every process's data is in the run's one Task."""

from __future__ import annotations

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, events_taken, scalars, section, task_of
from tests.end_to_end.processes import wait_for

RANK = """
import os
import mlflow
import torch.distributed as dist

dist.init_process_group("gloo")
rank = dist.get_rank()
shared = [None]
if rank == 0:
    run = mlflow.start_run(run_name="ranks")
    mlflow.log_param("world", dist.get_world_size())
    shared = [run.info.run_id]
dist.broadcast_object_list(shared, src=0)
client = mlflow.MlflowClient()
for step in range(50):
    client.log_metric(shared[0], f"rank{rank}/loss", 1 / (step + 1), step=step)
client.set_tag(shared[0], f"rank {rank}", "was here")
dist.barrier()
if rank == 0:
    mlflow.end_run()
dist.destroy_process_group()
"""

RAY = """
import mlflow
import ray

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)

@ray.remote
def work(run_id, number):
    client = mlflow.MlflowClient()
    for step in range(20):
        client.log_metric(run_id, f"worker{number}/loss", step, step=step)
    return number

with mlflow.start_run(run_name="ray") as run:
    print(sorted(ray.get([work.remote(run.info.run_id, number) for number in range(4)])))
    mlflow.log_metric("loss", 1.0)
ray.shutdown()
"""


def assert_whole(place: Place, server: ClearMLServer, points: int) -> None:
    """There is one run with one Task, which is completed and holds all that MLflow holds."""
    run = place.the_run()
    task = ended(server, run.info.run_id)
    assert task["status"] == "completed"
    assert len(place.points(run.info.run_id)) == points
    wait_for(lambda: scalars(server, task["id"]) == place.points(run.info.run_id))
    task = task_of(server, run.info.run_id)
    assert events_taken(task) == points
    assert section(task, "MLflow") == run.data.params
    assert {key for key in section(task, "MLflow tags") if key.startswith("rank")} == {
        key for key in run.data.tags if key.startswith("rank")
    }
    wait_for(lambda: not place.workers())


def test_ranks_of_torchrun(place: Place, server: ClearMLServer) -> None:
    place.write("train.py", RANK)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "train.py"]
    done = place.start("", command=launcher, OMP_NUM_THREADS="1").finish()
    assert done.code == 0, done.stderr
    assert_whole(place, server, 100)


def test_tasks_of_ray(place: Place, server: ClearMLServer) -> None:
    done = place.run(RAY, OMP_NUM_THREADS="1")
    assert done.code == 0, done.stderr
    assert done.stdout == "[0, 1, 2, 3]\n"
    assert_whole(place, server, 81)
