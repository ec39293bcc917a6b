"""Reports of commands about a store (its name, a missing one, a refusal) and about runs that nothing completes."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from autoinstrument.clearml_api.probe import ahead_s
from autoinstrument.cli import service_checks
from autoinstrument.cli.checks import Check
from autoinstrument.cli.explain import explained
from autoinstrument.cli.tracing import Traced
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mlflow_store.probe import described
from tests.clearml_server import ClearMLServer
from tests.end_to_end.conftest import database as database
from tests.unit.mirror.runs import PROCESS
from tests.unit.sync.test_stored import a_run, autoinstrument, open_run
from tests.unit.sync.test_stored import server as server

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

LOOKING = (
    ["status"], ["verify"], ["sync", "--all"], ["sync", "--run", "0" * 32], ["verify", "0" * 32, "1" * 32], ["open"],
    ["diff", "0" * 32, "1" * 32], ["reproduce", "0" * 32],
)  # fmt: skip
"""Commands that look into the store."""


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing MLflow takes long where other tests keep the machine busy."""
    monkeypatch.setattr(service_checks, "_STORE_S", 600.0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory; no store is configured."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_ALLOW_FILE_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AUTOINSTRUMENT_HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.mark.parametrize("command", LOOKING, ids=" ".join)
def test_without_a_store_a_command_names_it_and_the_remedy(folder: Path, server: ClearMLServer, command: Any) -> None:
    """It ends with exit code 1, and leaves the folder as it was."""
    done = autoinstrument(*command)
    assert done.exit_code == 1
    (line, *_) = [line for line in done.output.splitlines() if "does not exist" in line]
    assert str(folder) in line
    assert line.endswith("(MLflow's default: MLFLOW_TRACKING_URI is not set) does not exist: set MLFLOW_TRACKING_URI")
    assert done.output.count("MLFLOW_TRACKING_URI is not set") == 1, "once"
    assert list(folder.iterdir()) == []


STORES = ["sqlite:///{folder}/none.db", "{folder}/none", "file:{folder}/none"]
STRANGE = ["sqlite:///{folder}/other.db", "{folder}/empty", "file:{folder}/empty"]


@pytest.mark.parametrize("uri", STORES + STRANGE)
def test_a_folder_without_a_store_gets_none(folder: Path, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    """A database of another program and an empty folder stay as they are."""
    (folder / "empty").mkdir()
    with sqlite3.connect(folder / "other.db") as other:
        other.execute("CREATE TABLE accounts (id INTEGER)")
    other.close()
    before = (folder / "other.db").read_bytes()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(folder=folder))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    done = autoinstrument("status")
    expected = "does not exist" if uri in STORES else "has no"
    assert (done.exit_code, expected in done.output) == (1, True), done.output
    assert done.output.endswith(": check MLFLOW_TRACKING_URI\n")
    found = described()
    assert (found["is_new"], expected in found["problem"]) == (True, True)
    assert (folder / "other.db").read_bytes() == before
    assert sorted(path.name for path in folder.rglob("*")) == ["empty", "other.db"]


def test_the_default_store_is_named(
    client: MlflowClient, server: ClearMLServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow uses the store in the working directory, which may not be the intended one."""
    assert autoinstrument("status").output == f"there are no runs yet in sqlite:///{tmp_path / 'mlflow.db'}\n"
    assert f"no run has ended in sqlite:///{tmp_path / 'mlflow.db'}\n" in autoinstrument("verify").output
    assert autoinstrument("sync", "--all").output == f"no runs in sqlite:///{tmp_path / 'mlflow.db'}\n"
    a_run(client, "one")
    assert "MLFLOW_TRACKING_URI" not in autoinstrument("status").output
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.chdir(tmp_path)
    for command in ("status", "verify"):
        named = f"MLflow store: sqlite:///{tmp_path / 'mlflow.db'} (MLflow's default: MLFLOW_TRACKING_URI is not set)"
        assert named in autoinstrument(command).stderr.splitlines()


# What a server answers


class _Answers(BaseHTTPRequestHandler):
    """Answers every request below /api/ in the same way, and /health with success."""

    status, body = 200, b""

    def _answer(self) -> None:
        status, body = (self.status, self.body) if self.path.startswith("/api/") else (200, b"OK")
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer  # noqa: N815  (the names are http.server's)

    def log_message(self, *args: Any) -> None:
        """Write nothing."""


@pytest.fixture
def tracking(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Starts a server that answers MLflow's API with a status and a body."""
    servers = []

    def start(status: int, body: bytes) -> str:
        handler = type("Handler", (_Answers,), {"status": status, "body": body})
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{servers[-1].server_port}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        return uri

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    yield start
    for one in servers:
        one.shutdown()
        one.server_close()


@pytest.mark.parametrize(
    ("status", "body", "problem", "remedy"),
    [
        (401, b"You are not authenticated.", "refuses the credentials (401)", "MLFLOW_TRACKING_USERNAME"),
        (403, b"Permission denied", "does not let this user read experiments (403)", "permission"),
        (403, b'{"error_code": "PERMISSION_DENIED", "message": "no"}', "does not let this user read", "permission"),
        (404, b"<html>not found</html>", "is no MLflow tracking server", "port"),
        (200, b"<html>please log in</html>", "is no MLflow tracking server", "port"),
        (500, b"<html>broken</html>", "answers with 500", "runs"),
    ],
)
def test_a_server_gets_the_requests_of_a_training(
    tracking: Any, status: int, body: bytes, problem: str, remedy: str
) -> None:
    """Success of `/health` does not show that the credentials are right."""
    tracking(status, body)
    found = described()
    assert problem in found["problem"]
    assert remedy in found["remedy"]


def test_a_port_where_nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:sesame@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    found = described()
    assert found["problem"] == "cannot be reached"


def test_a_folder_that_mlflow_refuses(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Since about MLflow 3.7 a folder is a store only if a variable allows it: training would fail as well."""
    (folder / "mlruns" / "0").mkdir(parents=True)
    (folder / "mlruns" / "0" / "meta.yaml").write_text(
        "artifact_location: /tmp\nexperiment_id: '0'\nlifecycle_stage: active\nname: Default\n"
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(folder / "mlruns"))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert described()["problem"] == ""


# Runs that nothing completes


def test_verify_counts_the_runs_that_have_no_task(server: ClearMLServer, client: MlflowClient) -> None:
    """A migration that was cut off half-way does not look complete."""
    a_run(client, "first")
    assert autoinstrument("sync", "--all").exit_code == 0
    ids = [a_run(client, name) for name in ("second", "third")]
    a_run(client, "at work", status="")
    done = autoinstrument("verify")
    assert done.exit_code == 1
    assert done.stdout == "1 the same, 0 different, 2 without a Task: `autoinstrument sync --all` makes them\n"
    without = json.loads(autoinstrument("verify", "--json").stdout)["without_task"]
    assert (sorted(without["runs"]), without["repair"]) == (sorted(ids), "autoinstrument sync --all")
    assert autoinstrument(*without["repair"].split()[1:]).exit_code == 0
    done = autoinstrument("verify")
    assert (done.exit_code, done.stdout) == (0, "3 the same, 0 different\n")


def test_sync_of_a_dead_process_names_the_run_that_stays_open(
    server: ClearMLServer, client: MlflowClient, tmp_path: Path
) -> None:
    run_id = a_run(client, "killed", status="")
    run = open_run(client.tracking_uri, run_id).run
    journal = RunJournal(tmp_path / "home" / "captures" / run_id, run._replace(owned=True), PROCESS)
    journal.kept, journal.machine = True, "elsewhere"
    journal.save()
    os.utime(journal.folder / "capture.json", (0, 0))
    done = autoinstrument("sync")
    assert done.exit_code == 0
    assert f"set_terminated('{run_id}', 'KILLED')" in done.output


# explain and the clock


def steps_of(code: int) -> dict[str, Check]:
    steps = {"started": ["python"], "on": ["1"], "armed": ["x"], "imported": ["mlflow.tracking"], "wrapped": ["a"]}
    return {check.what: check for check in explained(Traced(code, steps), of_command=True)}


def test_explain_of_a_script_that_died_before_its_run() -> None:
    """It was on its way to start_run: the advice to call it would be wrong."""
    assert "exit code 1 before it began an MLflow run" in steps_of(1)["run begun"].remedy
    assert "signal 9" in steps_of(-9)["run begun"].remedy
    assert "call `mlflow.start_run`" in steps_of(0)["run begun"].remedy


@pytest.mark.parametrize(
    ("date", "began", "ended", "ahead"),
    [
        (100, 100.9, 101.1, 0.0),  # the server answered at 100.95 and cut the fraction off
        (101, 100.9, 101.1, 0.0),
        (100, 101.5, 101.6, -0.5),
        (170, 100.0, 105.0, 65.0),
    ],
)
def test_a_clock_is_wrong_only_if_whole_seconds_prove_it(date: float, began: float, ended: float, ahead: float) -> None:
    assert ahead_s(date, began, ended) == pytest.approx(ahead)
