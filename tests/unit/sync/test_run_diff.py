"""Two runs side by side: their data, their code and their environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.cli.diff import diff
from autoinstrument.mlflow_store.runs import find_run
from autoinstrument.sync.run_diff import Deviation, compare_runs
from tests.clearml_server import ClearMLServer
from tests.end_to_end.conftest import database as database
from tests.end_to_end.harness import task_of
from tests.unit.sync.test_stored import a_run, autoinstrument
from tests.unit.sync.test_stored import server as server

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def runs(server: ClearMLServer, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two runs with Tasks; they differ in a parameter, a metric, and a package."""
    monkeypatch.setenv("AUTOINSTRUMENT_HOME", str(tmp_path / "home"))
    ids = [a_run(client, name) for name in ("baseline", "candidate")]
    client.log_param(ids[1], "depth", "3")
    client.log_batch(ids[1], [Metric("train/loss", 0.01, 1_600_000_001_000, 20)])
    assert autoinstrument("sync", "--all").exit_code == 0
    for run_id, version in zip(ids, ("1.5.0", "1.6.0"), strict=True):
        script = {
            "requirements": {"pip": f"scikit-learn=={version}\nown @ git+https://x/y@abc\n"},
            "diff": f"+{version}\n+b\n",
        }
        Session().call("tasks.edit", task=task_of(server, run_id)["id"], script=script, force=True)
    return ids


def call(*words: str) -> Result:
    return CliRunner().invoke(diff, words)


def test_each_difference_has_its_section(runs: list[str]) -> None:
    found = compare_runs(find_run(runs[0]), find_run(runs[1]), Tasks(Session()))
    assert found.without_task == []
    assert found.deviations == [
        Deviation("parameter", "depth", None, "3"),
        Deviation("metric", "train/loss", "0.05", "0.01"),
        Deviation("code", "source", "+1.5.0\n+b\n", "+1.6.0\n+b\n"),
        Deviation("package", "scikit-learn", "1.5.0", "1.6.0"),
    ]


def test_in_the_terminal(runs: list[str]) -> None:
    done = call("baseline", runs[1][:8])
    assert done.exit_code == 1
    assert [line.split() for line in done.output.splitlines()] == [
        ["parameter", "baseline", "candidate"], ["depth", "-", "3"], [],
        ["metric", "baseline", "candidate"], ["train/loss", "0.05", "0.01"], [],
        ["package", "baseline", "candidate"], ["scikit-learn", "1.5.0", "1.6.0"], [],
        ["code:", "source"], ["---", "baseline"], ["+++", "candidate"], ["@@", "-1,2", "+1,2", "@@"],
        ["-+1.5.0"], ["++1.6.0"], ["+b"],
    ]  # fmt: skip


def test_as_json(runs: list[str]) -> None:
    done = call(*runs, "--json")
    assert json.loads(done.output)[0] == {"section": "parameter", "name": "depth", "first": None, "second": "3"}
    same = call(runs[0], runs[0])
    assert (same.exit_code, same.output) == (0, "no difference\n")


def test_a_run_without_a_task(runs: list[str], client: MlflowClient) -> None:
    other = a_run(client, "old")
    done = call(runs[0], other)
    assert (done.exit_code, done.output) == (
        0,
        "no difference\nold has no Task: arguments, code and packages are not compared\n",
    )
    assert call("nothing", other).output.startswith("Error: there is no run 'nothing' in ")
