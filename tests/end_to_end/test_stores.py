"""The agent creates, migrates and revives nothing of MLflow's, and its calls leave no trace in the user's log."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.harness import FILE_STORE, Place, ended
from tests.end_to_end.processes import Finished, wait_for
from tests.end_to_end.proxy import Proxy

pytest.importorskip("sqlalchemy", reason="mlflow-skinny has no databases")

MANY_STORES = """
    import os, pickle, shutil, sys, tempfile, time
    import mlflow
    from mlflow.tracking import MlflowClient

    def train(number):
        with mlflow.start_run(run_name=f"run {number}"):
            mlflow.log_param("number", number)
            mlflow.log_metric("loss", number)
            mlflow.set_tag("kind", "short")

    for number in range(30):
        folder = tempfile.mkdtemp()
        shutil.copy(sys.argv[1], os.path.join(folder, "mlflow.db"))
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        train(number)
        if number % 5 == 0:  # back and forth
            mlflow.set_tracking_uri(os.environ["KEPT"])
            train(number)
        if number % 5 == 1:
            client = pickle.loads(pickle.dumps(MlflowClient()))
            client.log_metric(client.create_run("0").info.run_id, "loss", 1.0)
        if number % 5 == 2:  # the file alone is gone, so that SQLite could make it again
            os.remove(os.path.join(folder, "mlflow.db"))
        elif number % 5 == 3:
            mlflow.start_run(run_name="left open")
            shutil.rmtree(folder)
            try:
                mlflow.end_run()
            except Exception as error:
                print(type(error).__name__)
        else:
            shutil.rmtree(folder)
        if number % 10 == 0:
            time.sleep(0.5)
    mlflow.set_tracking_uri(os.environ["KEPT"])
    train(30)
"""


def others_lines(done: Finished) -> list[str]:
    """Return the lines on stderr that are not the agent's, without ids, times and names of temporary folders.

    Of a traceback the first line: which of SQLAlchemy's calls meets a missing file depends on the moment.
    """
    lines = [line for line in done.stderr.splitlines() if line not in done.agent_lines]
    lines = [re.sub(r"[0-9a-f]{32}|/tmp\w{8}|\d+", "#", line) for line in lines]
    return [line for line in lines if line.startswith(("#/#/# ", "Traceback", "Exception", "autoinstrument"))]


def stores_in(place: Place) -> list[str]:
    """Return the databases below the place, once its workers have gone."""
    wait_for(lambda: not place.workers())
    return sorted(str(path.relative_to(place.root)) for path in place.root.rglob("*.db"))


@pytest.mark.slow
@pytest.mark.may_report(r"tracking store at .*mlflow\.db|MLflow store .*mlflow\.db does not exist")
def test_stores_that_come_and_go_are_left_to_their_owner(own_place: Place, database: Path) -> None:
    """As in a test suite: one store a test in a temporary folder, removed when the test is over."""
    own_place.uri = ""
    environ = {"KEPT": f"sqlite:///{own_place.root / 'mlflow.db'}"}
    without = own_place.run(MANY_STORES, str(database), agent=False, **environ)
    before = stores_in(own_place)
    done = own_place.run(MANY_STORES, str(database), **environ)
    assert (done.code, done.stdout) == (without.code, without.stdout)
    assert stores_in(own_place) == before == ["mlflow.db"]
    assert others_lines(done) == others_lines(without)


REGISTRY = """
    import os, threading, time
    import mlflow
    from mlflow.tracking import MlflowClient

    mlflow.set_registry_uri(f"sqlite:///{os.getcwd()}/registry.db")
    with mlflow.start_run(run_name="with a model"):
        MlflowClient().log_metric(mlflow.active_run().info.run_id, "loss", 1.0)
        model = {model}
        # While the models are read, this thread creates stores of its own: Alembic is made for one thread.
        for number in range(2):
            MlflowClient(f"sqlite:///{os.getcwd()}/own-{number}.db").create_run("0")
    time.sleep(1)
"""
MODEL = {
    "3": 'mlflow.create_external_model(name="outside")',
    "2": 'MlflowClient()._record_logged_model(mlflow.active_run().info.run_id, mlflow.models.Model("outside"))',
}


def test_a_registry_that_is_never_used_is_never_made(place: Place, server: ClearMLServer) -> None:
    """Nor is a store opened on a thread of the agent's while the training creates one."""
    import mlflow

    done = place.run(REGISTRY.replace("{model}", MODEL[mlflow.__version__[0]]))
    assert done.code == 0, done.stderr
    task = ended(server, place.the_run().info.run_id)
    wait_for(lambda: not place.workers())
    assert not (place.folder / "registry.db").exists()
    assert [link["name"] for link in task["models"]["output"]] == ["outside"]


DEAD = """
    import os, shutil, sys
    import mlflow
    mlflow.set_tracking_uri(sys.argv[1])
    mlflow.start_run(run_name="dies")
    mlflow.log_metric("loss", 1.0)
    shutil.rmtree(sys.argv[2])
    os._exit(3)
"""


@pytest.mark.may_report("NoStoreError", "StoreNotThereError")
@pytest.mark.parametrize("kind", ["database", "folder"])
def test_a_worker_that_completes_a_run_does_not_make_its_store_again(place: Place, database: Path, kind: str) -> None:
    folder = place.root / "store"
    folder.mkdir()
    uri = folder.as_uri()
    if kind == "database":
        (folder / "mlflow.db").write_bytes(database.read_bytes())
        uri = f"sqlite:///{folder / 'mlflow.db'}"
    else:
        place.environ |= FILE_STORE
        folder.rmdir()
    done = place.run(DEAD, uri, str(folder))
    assert done.code == 3, done.stderr
    wait_for(lambda: not place.workers())
    assert not folder.exists()


def test_a_recorded_run_whose_store_is_gone_has_a_remedy_that_helps(
    own_place: Place, own_server: ClearMLServer, database: Path
) -> None:
    """Its journal names the store, so that no variable is wrong. Without the journal nothing is pending any more."""
    store = own_place.root / "store.db"
    store.write_bytes(database.read_bytes())
    own_place.uri = f"sqlite:///{store}"
    own_server.close()
    assert own_place.run("import mlflow; mlflow.start_run(); mlflow.end_run()").code == 0
    wait_for(lambda: not own_place.workers())
    own_server.start()
    store.unlink()
    own_place.uri = ""
    (journal,) = own_place.journals()
    synced = own_place.command("sync")
    assert synced.code == 1
    assert f"the run's MLflow store sqlite:///{store} does not exist: it was deleted or moved" in synced.stdout
    assert f"delete its runs' journals in {journal.parent}" in " ".join(synced.stdout.split())
    assert "MLFLOW_TRACKING_URI" not in synced.stdout + synced.stderr
    assert not store.exists()
    shutil.rmtree(journal)
    assert own_place.command("sync").code == 0


@pytest.mark.parametrize("command", [["status"], ["verify"], ["sync", "--all"]])
def test_a_command_makes_no_store(place: Place, command: list[str]) -> None:
    """Here MLflow's own choice is a database in the working directory."""
    place.uri = ""
    done = place.command(*command)
    assert done.code == 1
    assert "mlflow.db (MLflow's default: MLFLOW_TRACKING_URI is not set) does not exist" in done.stdout + done.stderr
    assert list(place.folder.iterdir()) == []


GONE = """
    import logging, os, sys, time
    import mlflow

    class Kept(logging.Handler):
        lines = []
        def emit(self, record):
            self.lines.append(record.getMessage())

    logging.getLogger().addHandler(Kept())
    logging.getLogger("mlflow").addHandler(Kept())
    mlflow.start_run(run_name="server gone")
    mlflow.log_metric("loss", 1.0)
    open("ready", "w").close()
    from autoinstrument.guard import errors
    end = time.monotonic() + 180
    while not errors and time.monotonic() < end:  # until a call of the agent's has failed
        time.sleep(0.01)
    print(Kept.lines)
    logging.getLogger("mlflow.tracking").warning("the user's own")
    print(len(Kept.lines), flush=True)
    os._exit(0)
"""


@pytest.mark.may_report("(describing|linking) a run failed|finding a run whose process died at once failed")
def test_calls_of_the_agent_that_fail_are_not_in_the_users_log(
    own_place: Place, own_server: ClearMLServer, mlflow_server: str
) -> None:
    """Neither on stderr nor in handlers of the script's: retries of urllib3, MLflow's failed statements."""
    held = own_server.faults.add(Fault("tasks.create", action="hang"))
    with Proxy(mlflow_server) as proxy:
        own_place.uri = proxy.url
        started = own_place.start(GONE, MLFLOW_HTTP_REQUEST_MAX_RETRIES="1")
        wait_for(lambda: (own_place.folder / "ready").exists())
        proxy.close()
        own_server.faults.remove(held)  # now a link must be written, and the store refuses it
        done = started.finish()
    assert done.stdout.splitlines()[-2:] == ["[]", "1"], done.stdout
    assert [line for line in others_lines(done) if "own" not in line] == []
