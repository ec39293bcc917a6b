"""The agent leaves the training process alone: a script sees the same of itself with the agent on and off."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.harness import Place, ended
from tests.end_to_end.processes import wait_for

SEEN = """
import json, os, pathlib, random, signal, subprocess, sys, threading, time, warnings

def state():
    return {
        "environ": dict(os.environ),
        "signals": {str(n): repr(signal.getsignal(n)) for n in signal.valid_signals()},
        "random": hash(random.getstate()),
        "numpy": numpy.random.get_state()[1].tolist()[:5],
        "hooks": [id(sys.excepthook), id(sys.exit), id(os.fork), id(threading.excepthook), id(sys.unraisablehook)],
        "streams": [id(sys.stdout), id(sys.stderr), type(sys.stdout).__name__, id(sys.stdout.buffer)],
        "filters": len(warnings.filters),
        "folder": os.getcwd(),
        "trace": [repr(sys.gettrace()), repr(sys.getprofile())],
        "import": repr(__import__),
    }

import mlflow, numpy, psutil
random.seed(1), numpy.random.seed(1)
before = state()
seen = {}
with mlflow.start_run():
    seen["random"] = [random.random(), float(numpy.random.rand())]
    mlflow.log_metric("loss", 1.0)
    time.sleep(1.5)
    seen["children"] = [str(child) for child in psutil.Process().children(recursive=True)]
    try:
        seen["wait"] = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        seen["wait"] = "no child"
    random.seed(1), numpy.random.seed(1)
    during = state()
    seen["differs"] = [key for key in before if before[key] != during[key]]
    inherited = "import os; print(sorted(os.listdir('/proc/self/fd')), sorted(k for k in os.environ))"
    seen["subprocess"] = subprocess.run([sys.executable, "-S", "-c", inherited], capture_output=True, text=True).stdout
random.seed(1), numpy.random.seed(1)
after = state()
seen["differs after"] = [key for key in before if before[key] != after[key]]

import atexit
seen["clearml"] = sorted(name for name in sys.modules if name.split(".")[0] == "clearml")
pathlib.Path(sys.argv[1]).write_text(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def seen(server: ClearMLServer, new_place):
    place = new_place(server)
    done = place.run(SEEN, "with.json", fresh=True)
    assert done.code == 0, done.stderr
    assert place.run("", "without.json", command=["train.py"], agent=False, fresh=True).code == 0
    ended(server, place.mlflow_runs()[0].info.run_id)
    return {name: json.loads((place.folder / f"{name}.json").read_text()) for name in ("with", "without")}


def test_clearml_is_never_imported(seen) -> None:
    assert seen["with"]["clearml"] == []


def test_no_child_process_is_seen(seen) -> None:
    """Neither by psutil nor by `os.waitpid`: frameworks wait for any child, and end those that they find."""
    assert seen["with"]["children"] == []
    assert seen["with"]["wait"] == "no child"


def test_random_streams_are_the_same(seen) -> None:
    assert seen["with"]["random"] == seen["without"]["random"]


def test_environment_signals_hooks_and_streams_stay_as_they_were(seen) -> None:
    """Before, during and after a run: each difference with the agent exists without it, too."""
    assert seen["with"]["differs"] == seen["without"]["differs"]
    assert seen["with"]["differs after"] == seen["without"]["differs after"]


def test_sub_processes_inherit_nothing_more(seen) -> None:
    """No file descriptor, and no variable except those that switch the agent on."""
    mine = {"AUTOINSTRUMENT_ENABLED", "AUTOINSTRUMENT_HOME"}
    given, plain = (seen[name]["subprocess"] for name in ("with", "without"))
    assert given.split("]")[0] == plain.split("]")[0]
    assert {name for name in mine if name in given} == mine
    for name in mine:
        given = given.replace(f"'{name}', ", "")
    assert given == plain


def test_a_silent_script_stays_silent_on_stdout(place: Place, server: ClearMLServer) -> None:
    script = "import mlflow\nwith mlflow.start_run():\n    mlflow.log_metric('a', 1)\n"
    done = place.run(script)
    assert done.stdout == ""
    assert done.code == 0


@pytest.mark.usefixtures("whole_end")
def test_stdout_is_byte_for_byte_the_same(place: Place) -> None:
    """Bytes written to the buffer, to the descriptor, odd line ends, unflushed text, a closed stream."""
    script = r"""
        import os, sys, mlflow
        with mlflow.start_run():
            print("text", end="\r")
            sys.stdout.buffer.write(b"\xff\xfe raw\n")
            sys.stdout.flush()
            os.write(1, b"descriptor\n")
            sys.stdout.writelines(["a\r\n", "b"])
            print("\u2028\x00\x1b[31mred\x1b[0m")
        sys.stdout.write("unflushed")
        """
    with_agent = place.run(script)
    without = place.run("", command=["train.py"], agent=False)
    assert with_agent.stdout == without.stdout
    assert with_agent.code == without.code == 0


@pytest.mark.usefixtures("whole_end")
def test_a_script_that_closes_or_replaces_its_streams_ends_well(place: Place, server: ClearMLServer) -> None:
    script = """
        import contextlib, io, sys, mlflow
        with mlflow.start_run():
            with contextlib.redirect_stdout(io.StringIO()) as text:
                print("captured")
            assert text.getvalue() == "captured\\n"
            sys.stdout = open("log.txt", "w")
            print("into a file")
        sys.stdout.close()
        sys.stderr.close()
        """
    done = place.run(script)
    plain = place.run("", command=["train.py"], agent=False)
    assert (done.code, done.stdout) == (plain.code, plain.stdout)
    assert (place.folder / "log.txt").read_text() == "into a file\n"
    assert ended(server, place.mlflow_runs()[0].info.run_id)["status"] == "completed"


def test_mlflow_functions_can_be_pickled(place: Place) -> None:
    """joblib, Ray and Spark send functions by pickle or cloudpickle; a process without the agent can read them."""
    script = """
        import pickle, cloudpickle, mlflow
        from mlflow.tracking import MlflowClient
        client = MlflowClient()
        functions = [mlflow.start_run, mlflow.end_run, mlflow.log_metric, client._tracking_client.log_metric]
        for module in (pickle, cloudpickle):
            for function in functions:
                copy = module.loads(module.dumps(function))
                assert copy.__name__ == function.__name__
        open("function.pickle", "wb").write(pickle.dumps(mlflow.start_run))
        """
    done = place.run(script)
    assert done.code == 0, done.stderr
    read = "import pickle\nprint(pickle.load(open('function.pickle', 'rb')).__qualname__)\n"
    assert place.run(read, name="read.py", agent=False).stdout == "start_run\n"


def test_an_mlflow_error_reaches_the_script_as_it_is(place: Place, server: ClearMLServer) -> None:
    """Type, text and traceback; and the run's Task knows of no param that MLflow refused."""
    script = """
        import mlflow
        with mlflow.start_run():
            mlflow.log_param("lr", 1)
            try:
                mlflow.log_param("lr", 2)
            except mlflow.exceptions.MlflowException as error:
                print(type(error).__name__, error.error_code)
            try:
                mlflow.log_metric("bad name!?*", 1)
            except Exception as error:
                print(type(error).__name__)
            try:
                mlflow.log_metric("loss", "no number")
            except Exception as error:
                print(type(error).__name__)
        """
    done = place.run(script)
    plain = place.run("", command=["train.py"], agent=False)
    assert done.stdout == plain.stdout
    assert len(done.agent_lines) == 1, done.stderr
    task = ended(server, place.mlflow_runs()[0].info.run_id)
    assert task["hyperparams"]["MLflow"]["lr"]["value"] == "1"
    assert server.scalars(task["id"]) == {}


def test_finalizers_wait_for_the_agents_threads(
    new_place: Callable[[ClearMLServer], Place], own_server: ClearMLServer
) -> None:
    """SQLAlchemy's would roll back the link tags that a thread writes at the end, which follow a slow answer here."""
    script = """
        import weakref, mlflow

        class Model:
            def close(run_id):
                print("Task:", mlflow.MlflowClient().get_run(run_id).data.tags["clearml.task_id"])

        model = Model()
        with mlflow.start_run() as run:
            weakref.finalize(model, Model.close, run.info.run_id)
        """
    place = new_place(own_server)
    own_server.faults.add(Fault("tasks.create", latency=2.0))
    done = place.run(script, fresh=True)
    assert done.code == 0
    assert done.stdout.startswith("Task: "), done.stderr


def test_nothing_is_left_some_seconds_after_the_end(place: Place) -> None:
    assert place.run("import mlflow\nmlflow.start_run()\n").code == 0
    wait_for(lambda: not place.left_behind())


def test_an_import_hook_of_mlflow_is_not_stopped(place: Place, server: ClearMLServer) -> None:
    """MLflow imports in its hooks with a lock held that each import needs (`mlflow.evaluate`, `mlflow.autolog`)."""
    script = """
        import importlib, time
        import mlflow
        from mlflow.utils.import_hooks import register_post_import_hook

        def hook(module):
            for name in ("wave", "colorsys", "sndhdr", "filecmp", "sched", "tabnanny", "mailbox", "cmd"):
                time.sleep(0.2)
                try:
                    importlib.import_module(name)
                except ImportError:
                    pass

        with mlflow.start_run() as run:
            mlflow.log_input(mlflow.data.from_numpy(__import__("numpy").ones(3)))
            register_post_import_hook(hook, "json")
        """
    done = place.run(script)
    assert done.code == 0, done.stderr
    assert ended(server, place.the_run().info.run_id)["status"] == "completed"
