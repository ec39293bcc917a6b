"""Commands check a store in a separate process: a store that is old, that refuses access, or has open runs."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from autoinstrument.cli.service_checks import tracking_server
from tests.clearml_server import ClearMLServer
from tests.end_to_end.conftest import database as database
from tests.unit.cli.test_verdicts import patience as patience
from tests.unit.cli.test_verdicts import tracking as tracking
from tests.unit.conftest import client as client
from tests.unit.sync.test_stored import a_run, autoinstrument, mirrored
from tests.unit.sync.test_stored import server as server

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_a_store_of_an_older_mlflow_is_not_migrated(client: MlflowClient, tmp_path: Path) -> None:
    """MLflow migrates a database that lacks a table as soon as it opens it."""
    with sqlite3.connect(tmp_path / "mlflow.db") as held:
        held.execute("DROP TABLE trace_tags")
        held.execute("UPDATE alembic_version SET version_num = 'older'")
    held.close()
    before = (tmp_path / "mlflow.db").read_bytes()
    done = autoinstrument("status")
    assert (done.exit_code, "mlflow db upgrade" in done.output) == (1, True), done.output
    (check,) = tracking_server(os.environ["MLFLOW_TRACKING_URI"])
    assert (check.ok, "older MLflow" in check.detail) == (False, True)
    assert (tmp_path / "mlflow.db").read_bytes() == before


def test_doctor_fails_where_every_call_is_refused(tracking: Any) -> None:
    uri = tracking(401, b"You are not authenticated.")
    (check,) = tracking_server(uri)
    assert (check.ok, check.detail) == (False, f"{uri} refuses the credentials (401)")


def test_a_run_that_nothing_will_end_is_named(server: ClearMLServer, client: MlflowClient, tmp_path: Path) -> None:
    """Its process was killed by a closed pipe: the Task is complete, the record is gone, and MLflow says RUNNING."""
    run_id = a_run(client, "piped", status="")
    mirrored(client, run_id, tmp_path / "home", owned=True)
    assert client.get_run(run_id).info.status == "RUNNING"
    remedy = f"import mlflow; mlflow.MlflowClient().set_terminated('{run_id}', 'KILLED')"

    listed = autoinstrument("status")
    assert (listed.exit_code, remedy in listed.output) == (0, True), listed.output
    verified = autoinstrument("verify")
    assert (verified.exit_code, remedy in verified.output) == (0, True), verified.output
    synced = autoinstrument("sync", "--all")
    assert f'piped: running: MLflow says RUNNING, but its process is gone: `python -c "{remedy}"`' in synced.output
    checks = {check.what: check for check in tracking_server(client.tracking_uri)}
    assert checks["MLflow runs"].ok is False
    assert checks["MLflow runs"].detail == "1 are RUNNING although their processes are gone"

    exec(remedy)  # as it is printed
    assert "RUNNING" not in autoinstrument("status").output
    assert autoinstrument("sync", "--all").exit_code == 0
    assert autoinstrument("verify").exit_code == 0
    assert [check.ok for check in tracking_server(client.tracking_uri)] == [True]
