"""Programs whose processes are on two hosts: one MLflow run is one Task, with the data of all of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.end_to_end.harness import scalars, section
from tests.end_to_end.processes import PATIENCE_S, wait_for
from tests.hosts.cluster import Cluster, finished, torchrun

LOG = """
def log(run_id, rank):
    import mlflow
    client = mlflow.MlflowClient()
    for step in range(20):
        client.log_metric(run_id, f"rank{rank}/loss", 1 / (step + 1), step=step)
    print("rank", rank, "is done", flush=True)
"""

TORCH = (
    LOG
    + """
import mlflow
import torch.distributed as dist

dist.init_process_group("gloo")
rank = dist.get_rank()
shared = [None]
if rank == 0:
    shared = [mlflow.start_run(run_name="ranks").info.run_id]
    mlflow.log_param("world", dist.get_world_size())
dist.broadcast_object_list(shared, src=0)
if rank < 3:
    log(shared[0], rank)
dist.barrier()
if rank == 3:
    print("rank 3 only prints", flush=True)
dist.barrier()
if rank == 0:
    mlflow.end_run()
dist.destroy_process_group()
"""
)

ACCELERATE = (
    LOG
    + """
import os
import mlflow
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

accelerator = Accelerator(cpu=True, log_with="mlflow")
accelerator.init_trackers(os.environ["MLFLOW_EXPERIMENT_NAME"], config={"lr": 0.1})
run = mlflow.active_run() if accelerator.is_main_process else None
(run_id,) = broadcast_object_list([run and run.info.run_id])
log(run_id, accelerator.process_index)
accelerator.wait_for_everyone()
accelerator.log({"all": accelerator.num_processes}, step=0)
accelerator.end_training()
"""
)

MPI = (
    LOG
    + """
import socket
import mlflow
from mpi4py import MPI

world = MPI.COMM_WORLD
rank = world.Get_rank()
run_id = world.bcast(mlflow.start_run(run_name="mpi").info.run_id if rank == 0 else None)
log(run_id, rank)
hosts = world.gather(socket.gethostname())
if rank == 0:
    mlflow.set_tag("hosts", " ".join(sorted(hosts)))
    mlflow.end_run()
"""
)


def test_torchrun(cluster: Cluster) -> None:
    """The console of the second host is there, too, because one rank of it logs to the run."""
    finished(torchrun(cluster, TORCH))
    task = cluster.assert_whole(points=60)
    assert section(task, "MLflow") == {"world": "4"}
    assert "--nnodes=2 --nproc-per-node=2 --node-rank=0" in task["script"]["entry_point"]
    assert {"mlflow", "torch"} <= {
        line.partition("==")[0] for line in task["script"]["requirements"]["pip"].splitlines()
    }
    assert task["runtime"]["hostname"] == "alpha"
    lines = set(cluster.server.console(task["id"]).splitlines())
    assert {
        "rank 0 is done",
        "[rank 1] rank 1 is done",
        "[rank 2] rank 2 is done",
        "[rank 3] rank 3 only prints",
    } <= lines


def test_accelerate(cluster: Cluster) -> None:
    """Accelerate's own tracker begins the run; on processors its processes are started by torchrun."""
    finished(torchrun(cluster, ACCELERATE))
    task = cluster.assert_whole(points=81)
    assert section(task, "MLflow") == {"lr": "0.1"}


def test_mpirun(cluster: Cluster) -> None:
    """The launcher is on a third machine, and reaches the hosts as by ssh."""
    cluster.place.write("train.py", MPI)
    done = cluster.mpirun("train.py")
    assert done.code == 0, done.stderr
    task = cluster.assert_whole(points=80)
    assert section(task, "MLflow tags")["hosts"] == "alpha alpha beta beta"


RAY = (
    LOG
    + """
import sys
import mlflow, ray
from ray import train, tune
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

ray.init(address="auto", log_to_driver=False)

def loop(config):
    log(config["run_id"], train.get_context().get_world_rank())

def trial(config):
    with mlflow.start_run(run_name=f"trial {config['x']}", tags={"mlflow.parentRunId": config["parent"]}):
        mlflow.log_metric("loss", config["x"] ** 2, step=1)

with mlflow.start_run(run_name="train") as run:
    scaling = ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}, placement_strategy="STRICT_SPREAD")
    TorchTrainer(
        loop, train_loop_config={"run_id": run.info.run_id}, scaling_config=scaling,
        run_config=RunConfig(storage_path=sys.argv[1]),
    ).fit()
with mlflow.start_run(run_name="tune") as run:
    space = {"x": tune.grid_search([1, 2]), "parent": run.info.run_id}
    results = tune.Tuner(trial, param_space=space, run_config=tune.RunConfig(storage_path=sys.argv[1])).fit()
    assert not results.errors, results.errors
ray.shutdown()
"""
)

DASK = (
    LOG
    + """
import sys
import mlflow
from distributed import Client

client = Client("tcp://alpha:8786")
client.wait_for_workers(2)
with mlflow.start_run(run_name="dask") as run:
    workers = sorted(client.scheduler_info()["workers"])
    client.gather([
        client.submit(log, run.info.run_id, number, workers=[workers[number % 2]], pure=False) for number in range(4)
    ])
client.shutdown()
"""
)

SPARK = """
import sys
import mlflow
from pyspark.sql import SparkSession

spark = SparkSession.builder.master("spark://alpha:7077").config("spark.ui.enabled", "false").getOrCreate()

def part(rows):
    import mlflow, socket
    client = mlflow.MlflowClient()
    for number in rows:
        client.log_metric(run_id, f"part{number}/loss", 1.0, step=number)
        yield socket.gethostname()

with mlflow.start_run(run_name="spark") as run:
    run_id = run.info.run_id
    hosts = spark.sparkContext.parallelize(range(8), 8).mapPartitions(part).collect()
    mlflow.set_tag("hosts", " ".join(sorted(set(hosts))))
spark.stop()
"""


@pytest.mark.timeout(1200)  # some twenty processes that import MLflow or torch
def test_ray_train_and_tune(cluster: Cluster) -> None:
    """A cluster of two nodes: the driver's run has a worker on each, and each trial of Tune has a run of its own."""
    alpha, beta = cluster.hosts
    start = ("-m", "ray.scripts.scripts", "start", "--num-cpus=1", "--disable-usage-stats")
    finished(
        [cluster.start(alpha, *start, "--head", f"--node-ip-address={alpha.address}", "--include-dashboard=false")]
    )
    finished([cluster.start(beta, *start, f"--node-ip-address={beta.address}", f"--address={alpha.address}:6379")])
    cluster.place.write("train.py", RAY)
    finished([cluster.start(alpha, "train.py", str(cluster.place.folder / "ray"))], 4 * PATIENCE_S)
    wait_for(lambda: set(cluster.states().values()) == {("FINISHED", "completed", "synced")})
    runs = {run.info.run_name: run for run in cluster.runs()}
    assert runs.keys() == {"train", "tune", "trial 1", "trial 2"}
    assert {key for key, _ in cluster.points(runs["train"])} == {"rank0/loss", "rank1/loss"}
    for run in runs.values():
        assert scalars(cluster.server, cluster.task_of(run)["id"]) == cluster.points(run)
    parent = cluster.task_of(runs["tune"])["id"]
    assert {cluster.task_of(runs[f"trial {number}"])["parent"] for number in (1, 2)} == {parent}
    cluster.assert_verified()


def test_dask(cluster: Cluster) -> None:
    alpha, beta = cluster.hosts
    cluster.place.write("train.py", DASK)
    cluster.start(alpha, "-m", "distributed.cli.dask_scheduler", "--host", "alpha", "--no-dashboard")
    for host in (alpha, beta):
        cluster.start(
            host, "-m", "distributed.cli.dask_worker", "tcp://alpha:8786", "--host", host.name, "--no-dashboard"
        )
    finished([cluster.start(alpha, "train.py")])
    cluster.assert_whole(points=80)


@pytest.mark.timeout(1200)  # four Java machines, and twenty processes that import MLflow
def test_spark(cluster: Cluster) -> None:
    """Executors on both hosts log to the driver's run."""
    pyspark = pytest.importorskip("pyspark")
    if not shutil.which("java"):
        pytest.skip("needs Java")
    home = str(Path(pyspark.__file__).parent)
    alpha, beta = cluster.hosts
    own = {"SPARK_HOME": home, "PYSPARK_PYTHON": cluster.place.python, "SPARK_NO_DAEMONIZE": "1"}
    spark = "import os, sys; os.execv(sys.argv[1] + '/bin/spark-class', ['spark-class', *sys.argv[2:]])"
    deploy = ("-c", spark, home, "org.apache.spark.deploy")
    cluster.start(alpha, *deploy[:-1], f"{deploy[-1]}.master.Master", "--host", "alpha", "--port", "7077", **own)
    for host in (alpha, beta):
        cluster.start(
            host, *deploy[:-1], f"{deploy[-1]}.worker.Worker", "--host", host.name, "--cores", "1", "--memory", "1g",
            "spark://alpha:7077", SPARK_WORKER_DIR=str(host.folder), **own,
        )  # fmt: skip
    cluster.place.write("train.py", SPARK)
    finished([cluster.start(alpha, "train.py", SPARK_LOCAL_HOSTNAME="alpha", **own)], 4 * PATIENCE_S)
    task = cluster.assert_whole(points=8)
    assert section(task, "MLflow tags")["hosts"] == "alpha beta"
