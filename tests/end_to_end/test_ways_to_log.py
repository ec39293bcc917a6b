"""Every way to log to a run reaches the Task: client, batches, asynchronous calls, autologging."""

from __future__ import annotations

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags, scalars, section, single_values
from tests.end_to_end.processes import AT_ONCE_S


def test_a_logger_that_uses_the_client_alone_is_mirrored(place: Place, server: ClearMLServer) -> None:
    """Lightning's MLFlowLogger never calls `start_run`: create_run, log_*, set_terminated of MlflowClient."""
    script = """
        import time
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        class Logger:
            def __init__(self):
                self.client = MlflowClient()
                self.run_id = None

            def log_hyperparams(self, params):
                self.start()
                self.client.log_batch(self.run_id, params=[Param(k, str(v)) for k, v in params.items()])

            def start(self):
                if self.run_id is None:
                    experiment = self.client.create_experiment("lightning_logs")
                    run = self.client.create_run(experiment, tags={"mlflow.runName": "by client"})
                    self.run_id = run.info.run_id

            def log_metrics(self, metrics, step):
                now = int(time.time() * 1000)
                self.client.log_batch(self.run_id, metrics=[Metric(k, v, now, step) for k, v in metrics.items()])

            def finalize(self):
                if self.client.get_run(self.run_id):
                    self.client.set_terminated(self.run_id, "FINISHED")

        logger = Logger()
        logger.log_hyperparams({"lr": 0.1, "layers": [1, 2]})
        for step in range(50):
            logger.log_metrics({"train_loss": 1 / (step + 1), "epoch": step}, step)
        logger.client.log_metric(logger.run_id, "single", 0.5)
        logger.client.log_param(logger.run_id, "one", 1)
        logger.client.set_tag(logger.run_id, "mlflow.note.content", "a note")
        print("fitted")
        logger.finalize()
        """
    done = place.run(script)
    assert done.code == 0, done.stderr
    run = place.the_run()
    task = ended(server, run.info.run_id)
    assert task["status"] == "completed"
    assert task["name"] == "by client"
    assert task["comment"] == "a note"
    assert server.project_name(task["project"]) == "lightning_logs"
    assert section(task, "MLflow") == {"lr": "0.1", "layers": "[1, 2]", "one": "1"}
    assert scalars(server, task["id"]) == place.points(run.info.run_id)
    assert len(scalars(server, task["id"])) == 101
    assert "fitted" in server.console(task["id"])
    assert link_tags(run)["state"] == "synced"


def test_the_console_has_what_the_user_saw(place: Place, server: ClearMLServer) -> None:
    """Whichever streams the script has put into the place of Python's own, and in this order."""
    script = """
        import contextlib, io, logging, os, sys
        import mlflow
        handler = logging.StreamHandler(sys.stdout)
        with mlflow.start_run():
            print("as it was", flush=True)
            sys.stdout = io.TextIOWrapper(sys.stdout.buffer, "utf-8", line_buffering=True)
            print("ümlaut")
            sys.stdout.buffer.write(b"bytes" + os.linesep.encode())
            sys.stdout.buffer.flush()
            logging.root.addHandler(handler)
            logging.error("by the old stream")
            kept, sys.stdout = sys.stdout, open(sys.stdout.fileno(), "w", buffering=1)
            mlflow.log_metric("loss", 1)
            print("on the descriptor")
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(open("log", "w")):
                print("into memory")
                print("to a file", file=sys.stderr)
                mlflow.log_metric("loss", 2)
                print("into memory")
            print("the end")
        """
    done = place.run(script)
    assert done.code == 0, done.stderr
    task = ended(server, place.the_run().info.run_id)
    printed = [line for line in server.console(task["id"]).splitlines() if not line.startswith("autoinstrument: ")]
    assert printed == [*done.stdout.splitlines()]
    assert printed == [
        "as it was", "ümlaut", "bytes", "by the old stream", "on the descriptor", "the end",
    ]  # fmt: skip


def test_fluent_batches_and_asynchronous_calls_lose_no_point(place: Place, server: ClearMLServer) -> None:
    """`log_metrics`, `log_metric(synchronous=False)`, `log_params`, `set_tags`, a later note, a new name."""
    script = """
        import mlflow
        with mlflow.start_run(run_name="old name") as run:
            mlflow.log_params({f"p{n}": n for n in range(100)})
            for step in range(100):
                mlflow.log_metrics({"a": step, "b/c": -step}, step=step)
                mlflow.log_metric("queued", step, step=step, synchronous=False)
                mlflow.log_metrics({"also queued": step}, step=step, synchronous=False)
            mlflow.log_param("queued", "param", synchronous=False)
            mlflow.flush_async_logging()
            mlflow.set_tags({"mlflow.note.content": "first", "x": "y"})
            mlflow.set_tag("mlflow.note.content", "second")
            mlflow.set_tag("mlflow.runName", "new name")
        """
    done = place.run(script)
    assert done.code == 0, done.stderr
    run = place.the_run()
    task = ended(server, run.info.run_id)
    held = scalars(server, task["id"])
    assert len(held) == 400
    assert held == place.points(run.info.run_id)
    assert len(section(task, "MLflow")) == 101
    assert section(task, "MLflow")["queued"] == "param"
    assert task["comment"] == "second"
    assert task["name"] == run.info.run_name == "new name"


def test_values_that_a_curve_cannot_hold_never_become_false_numbers(place: Place, server: ClearMLServer) -> None:
    """NaN, infinities and values beyond float32 are left out; every neighbour is there, with its own value."""
    script = """
        import mlflow, numpy
        odd = [float("nan"), float("inf"), float("-inf"), 1e39, -1e39]
        with mlflow.start_run():
            for step, value in enumerate(odd):
                mlflow.log_metric("one by one", value, step=2 * step)
                mlflow.log_metric("one by one", 1.5, step=2 * step + 1)
                mlflow.log_metrics({"batch odd": value, "batch": 2.5}, step=step)
            mlflow.log_metric("numpy", numpy.float32(0.25), step=1)
            mlflow.log_metric("numpy", numpy.array([0.5]), step=2)
            mlflow.log_metric("big step", 1.0, step=2**53 + 1)
            mlflow.log_metric("negative step", 1.0, step=-7)
            mlflow.log_metric("tiny", 1e-300, step=0)
        """
    done = place.run(script)
    assert done.code == 0, done.stderr
    run = place.the_run()
    task = ended(server, run.info.run_id)
    assert task["status"] == "completed"
    held = scalars(server, task["id"])
    assert held == place.points(run.info.run_id)
    assert {step for key, step in held if key == "one by one"} == {1, 3, 5, 7, 9}
    assert link_tags(run)["state"] == "synced"


def test_autologging_is_mirrored(place: Place, server: ClearMLServer) -> None:
    """`mlflow.sklearn.autolog()` makes the run itself, and logs through its own queue."""
    script = """
        import mlflow
        from sklearn.datasets import load_iris
        from sklearn.linear_model import LogisticRegression
        mlflow.sklearn.autolog(log_models=False, log_datasets=False)
        x, y = load_iris(return_X_y=True)
        model = LogisticRegression(C=0.5, max_iter=300).fit(x, y)
        print(round(model.score(x, y), 6))
        """
    started = place.start(script)
    done = started.finish()
    assert done.code == 0, done.stderr
    run = place.the_run()
    task = ended(server, run.info.run_id)
    assert task["status"] == "completed"
    assert section(task, "MLflow") == run.data.params
    assert section(task, "MLflow")["C"] == "0.5"
    assert scalars(server, task["id"]) == place.points(run.info.run_id)
    assert ("training_accuracy_score", 0) in scalars(server, task["id"])
    assert "scikit-learn==" in task["script"]["requirements"]["pip"]


def test_system_metrics_are_mirrored(place: Place, server: ClearMLServer) -> None:
    """MLflow's monitor logs from its own thread, and once more when the run ends, also at exit."""
    script = """
        import time
        import mlflow
        mlflow.set_system_metrics_sampling_interval(0.2)
        mlflow.set_system_metrics_samples_before_logging(1)
        with mlflow.start_run(log_system_metrics=True):
            time.sleep(1)
        mlflow.enable_system_metrics_logging()
        mlflow.start_run()
        time.sleep(1)
        """
    done = place.run(script)
    assert done.code == 0, done.stderr
    assert done.seconds < 2 + AT_ONCE_S
    runs = place.mlflow_runs()
    assert len(runs) == 2
    for run in runs:
        task = ended(server, run.info.run_id)
        assert task["status"] == "completed"
        held = scalars(server, task["id"]).items()
        points = {(f"system/{key.rpartition('/')[2]}", step): point for (key, step), point in held}
        assert points == place.points(run.info.run_id)
        curves = server.scalars(task["id"])
        assert set(curves) == {
            "system (percentage)", "system disk (megabytes)", "system memory (megabytes)", "system network (megabytes)",
        }  # fmt: skip
        assert len(curves["system (percentage)"]["cpu_utilization_percentage"]) >= 2
        assert place.command("verify", run.info.run_id).code == 0
        assert link_tags(run)["state"] == "synced"


def test_points_without_a_step_are_a_curve_over_their_order(place: Place, server: ClearMLServer) -> None:
    """Also where several threads and a batch write; a metric with one point is a row of the summary."""
    script = """
        import threading
        import mlflow
        from mlflow.entities import Metric
        with mlflow.start_run() as run:
            def log(first):
                for value in range(first, first + 50):
                    mlflow.MlflowClient().log_metric(run.info.run_id, "loss", value)
            threads = [threading.Thread(target=log, args=(first,)) for first in (0, 100)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
            mlflow.MlflowClient().log_batch(run.info.run_id, [Metric("loss", value, 1, 0) for value in (7.0, 5.0)])
            mlflow.log_metric("accuracy", 0.9)
            for step in range(3):
                mlflow.log_metric("stepped", 10.0)
                mlflow.log_metric("stepped", step, step=step)
        """
    assert place.run(script).code == 0
    run = place.the_run()
    task = ended(server, run.info.run_id)
    held = scalars(server, task["id"])
    loss = [value for (name, _), (value, _) in sorted(held.items()) if name == "loss"]
    assert loss[:2] == [5.0, 7.0]
    assert sorted(loss[2:]) == [*range(50), *range(100, 150)]
    assert [value for (name, _), (value, _) in sorted(held.items()) if name == "stepped"][1:] == [1.0, 2.0]
    assert single_values(server, task["id"]) == {"accuracy": 0.9}
    verified = place.command("verify", run.info.run_id)
    assert verified.code == 0, verified.stdout


def test_scripts_in_one_ipython_session(place: Place, server: ClearMLServer) -> None:
    """Each `%run` is a script with separate arguments; the file may have been edited in between."""
    pytest.importorskip("IPython")
    code = """
        import argparse
        import mlflow

        parser = argparse.ArgumentParser()
        parser.add_argument("--lr")
        with mlflow.start_run(run_name=parser.parse_args().lr):
            mlflow.log_metric("loss", 1.0)
        """
    place.write("train.py", code)
    session = """
        import time
        import mlflow

        shell = get_ipython()
        for lr in ("0.2", "0.3"):
            shell.run_line_magic("run", f"train.py --lr {lr}")
            run = mlflow.last_active_run().info.run_id
            while "clearml.task_id" not in mlflow.get_run(run).data.tags:  # its code has been read then
                time.sleep(0.1)
            open("train.py", "a").write("# edited")
        """
    place.write("session.ipy", session)
    done = place.start("", command=["-m", "IPython", "--colors=NoColor", "session.ipy"]).finish()
    assert done.code == 0, done.stderr
    for lr, edited in (("0.2", False), ("0.3", True)):
        task = ended(server, place.run_named(lr).info.run_id)
        assert section(task, "Args") == {"lr": lr}
        assert task["script"]["entry_point"] == "train.py"
        assert task["script"]["diff"].endswith("# edited") is edited


def test_a_program_that_is_given_the_users_code(place: Place, server: ClearMLServer) -> None:
    """Outside of Git, the Task has the user's modules and not only the program's: pytest here, uvicorn, celery …"""
    place.write("model.py", "import mlflow\n\ndef train():\n    with mlflow.start_run():\n        pass\n")
    place.write("test_train.py", "import model\n\ndef test_train():\n    model.train()\n")
    options = ["-q", "-p", "no:cacheprovider", "test_train.py"]
    done = place.start("", command=["-m", "pytest", *options]).finish()
    assert done.code == 0, done.stdout
    task = ended(server, place.the_run().info.run_id)
    script = task["script"]
    assert (script["entry_point"], section(task, "Args")["file_or_dir"]) == ("run_pytest.py", "['test_train.py']")
    shown = [line.split("'")[1] for line in script["diff"].splitlines() if line.startswith("FILES['")]
    assert shown == ["model.py", "test_train.py"]
    place.write("agent/run_pytest.py", script["diff"])
    again = place.start("", command=["agent/run_pytest.py", *options], agent=False).finish()
    assert "1 passed" in again.stdout, again.stdout + again.stderr
    assert len(place.mlflow_runs()) == 2
