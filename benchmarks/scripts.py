"""The training scripts that are measured; each writes the times of its own calls to the file that it is given."""

from __future__ import annotations

COMMON = """
import json, os, resource, sys, time
import mlflow

calls = {}

def timed(name, call, *args, **kwargs):
    began = time.perf_counter()
    result = call(*args, **kwargs)
    calls.setdefault(name, []).append(time.perf_counter() - began)
    return result

def report():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with open(sys.argv[1], "w") as file:
        json.dump({"calls": calls, "peak_mb": peak}, file)
"""

POINTS = """
import gc
mlflow.search_experiments()  # what MLflow loads for its store takes half a second
gc.disable()  # a collection takes 130 ms, and falls into this call or into another one
run = timed("start_run", mlflow.start_run)
gc.enable()
with run:
    for step in range(1000):
        for name in ("loss", "accuracy"):
            timed("log_metric", mlflow.log_metric, name, 1 / (step + 1), step=step)
report()
"""
"""A run of 2,000 points."""

BY_HAND = """
from clearml import Task

task = Task.init("benchmark", "by hand", auto_connect_frameworks=False)
logger = task.get_logger()
mlflow.search_experiments()
with timed("start_run", mlflow.start_run):
    for step in range(1000):
        for name in ("loss", "accuracy"):
            timed("log_metric", mlflow.log_metric, name, 1 / (step + 1), step=step)
            timed("report_scalar", logger.report_scalar, name, name, 1 / (step + 1), step)
report()
task.close()
"""
"""The same with the usual calls of ClearML's beside those of MLflow's."""

RUNS = """
for number in range(100):
    run = timed("start_run", mlflow.start_run)
    mlflow.log_param("number", number)
    mlflow.log_metric("loss", number)
    mlflow.end_run()
report()
"""
"""100 short runs."""

LATER = """
for number in range(40):
    timed("start_run", mlflow.start_run)
    mlflow.log_metric("loss", number)
    mlflow.end_run()
    time.sleep(0.1)
report()
"""
"""The cost of a later `start_run` for its caller, when the other threads' work for the previous one is done."""

BATCHES = """
import threading
from mlflow.entities import Metric

client = mlflow.MlflowClient()
run = mlflow.start_run()

def work(number):
    for batch in range(25):
        points = [Metric(f"loss {number}", step / 7, int(time.time() * 1000), step)
                  for step in range(batch * 1000, batch * 1000 + 1000)]
        timed("log_batch", client.log_batch, run.info.run_id, points)

threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
mlflow.end_run()
report()
"""
"""200,000 points from eight threads."""

EMPTY_STORE = """
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

with mlflow.start_run():
    time.sleep(1)  # the run's beginning is over
    SqlAlchemyStore.log_metric = lambda *args, **kwargs: None
    for step in range(20000):
        timed("log_metric", mlflow.log_metric, "loss", 1 / (step + 1), step=step)
report()
"""
"""The cost of a call around a store that does nothing: the store's milliseconds would hide it."""

SHORT = """
with mlflow.start_run():
    for step in range(200):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
report()
"""
"""A run of 200 points."""

PARALLEL = """
import shutil
from mlflow.entities import Metric

processes, seconds, rate, batches = json.loads(os.environ["LOAD"])

def skip(store, run_id, *args, **kwargs):
    pass

def train(number):
    shutil.copy(os.environ["EMPTY_DATABASE"], f"{number}.db")  # 64 processes would wait for the lock of one
    mlflow.set_tracking_uri(f"sqlite:///{os.path.abspath(str(number))}.db")
    # Set by the call above: processes whose variables differ share no worker, and these stand for users of one server.
    del os.environ["MLFLOW_TRACKING_URI"]
    client = mlflow.MlflowClient()
    with mlflow.start_run() as run:
        for batch in range(batches):
            now = int(time.time() * 1000)
            client.log_batch(run.info.run_id, [Metric("loss", 0.5, now, batch * 1000 + step) for step in range(1000)])
        if rate:
            # 64 processes with 20 points a second keep five cores busy with sqlite alone, and what is counted are the
            # agent's requests.
            from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

            SqlAlchemyStore.log_metric = skip
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if rate:
                mlflow.log_metric("loss", 0.5, step=int(time.monotonic() * 1000))
            time.sleep(1 / rate if rate else 0.5)

children = []
for number in range(processes):
    pid = os.fork()
    if pid == 0:
        train(number)
        sys.exit(0)
    children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
report()
sys.exit(max(codes))
"""
"""Training processes beside each other, each with its own run; forks, because each start of MLflow takes seconds."""
