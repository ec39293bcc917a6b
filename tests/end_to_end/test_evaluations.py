"""Evaluations reach the Task with their rows, live and by `sync` alike; so does what people say of them later."""

from __future__ import annotations

import csv
import io
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, properties
from tests.end_to_end.processes import wait_for

pytest.importorskip("mlflow.genai.evaluation.harness", reason="MLflow's own evaluation, since 3.5")

EVALUATE = """
import mlflow
from mlflow.genai import scorer

@scorer
def exact(outputs, expectations):
    return outputs == expectations["expected_response"]

@scorer
def length(outputs):
    return len(outputs)

def predict(question, api_key):
    return question.upper()

rows = [
    {"inputs": {"question": "q" * (number + 1), "api_key": "sk-" + "hidden"}, "expectations": {"expected_response": "Q"}}
    for number in range(3)
]
result = mlflow.genai.evaluate(data=rows, scorers=[exact, length], predict_fn=predict)
mlflow.flush_trace_async_logging()
"""
FEEDBACK = """
from mlflow.entities import AssessmentSource
trace_id = mlflow.search_traces(run_id=result.run_id, return_type="list")[0].info.trace_id
mlflow.log_feedback(trace_id=trace_id, name="helpful", value=False, source=AssessmentSource("HUMAN", "anna"))
"""


def rows_of(server: ClearMLServer, task: dict[str, Any]) -> list[dict[str, str]]:
    (table,) = [entry for entry in task["execution"]["artifacts"] if entry["key"] == "MLflow trace table"]
    address = unquote(urlsplit(table["uri"]).path).lstrip("/")
    return list(csv.DictReader(io.StringIO(server.files[address].decode())))


@pytest.mark.parametrize("served", [False, True], ids=["database", "served"])
def test_an_evaluation(own_place: Place, own_server: ClearMLServer, mlflow_server: str, served: bool) -> None:
    """Live, with a person's feedback after its end; `verify` reads the store again, and finds no difference."""
    if served:
        own_place.uri = mlflow_server
    done = own_place.run(
        "import mlflow\nmlflow.set_experiment('evaluations')\n" + EVALUATE + FEEDBACK + "print(result.run_id)"
    )
    assert done.code == 0, done.stderr
    run_id = done.stdout.split()[-1]
    wait_for(lambda: not own_place.workers())
    task = ended(own_server, run_id)
    rows = rows_of(own_server, task)
    assert sorted(row["exact/value"] for row in rows) == ["false", "false", "true"]
    assert sorted(row["length/value"] for row in rows) == ["1", "2", "3"]
    assert [row["helpful/value"] for row in rows].count("false") == 1
    assert "sk-hidden" not in str([rows, own_server.events(task["id"]), task])
    assert properties(task)["mlflow_traces"] == "3"
    if served:
        page = properties(task)["mlflow_run_url"]
        assert rows[0]["page"] == f"{page}/traces?selectedEvaluationId={rows[0]['trace_id']}"
    verified = own_place.command("verify", run_id)
    assert verified.code == 0, verified.stdout


@pytest.mark.may_report("recorded, `autoinstrument sync` completes it later")
def test_traces_that_cannot_be_read_at_the_end_are_left_to_sync(own_place: Place, own_server: ClearMLServer) -> None:
    """MLflow's store is away when the run ends: the Task ends all the same, and one line says what completes it."""
    away = "import os, pathlib\npathlib.Path('mlflow.db').rename('away.db')\n"
    own_place.uri = f"sqlite:///{own_place.folder / 'mlflow.db'}"
    (own_place.root / "mlflow.db").rename(own_place.folder / "mlflow.db")
    done = own_place.run(
        "import mlflow\nwith mlflow.start_run() as run:\n    with mlflow.start_span('x'):\n        pass\n"
        "    mlflow.flush_trace_async_logging()\nprint(run.info.run_id)\n" + away
    )
    run_id = done.stdout.split()[-1]
    wait_for(lambda: not own_place.workers())
    (own_place.folder / "away.db").rename(own_place.folder / "mlflow.db")
    assert "mlflow_traces" not in properties(ended(own_server, run_id))
    assert own_place.command("sync").code == 0
    assert properties(ended(own_server, run_id))["mlflow_traces"] == "1"
    assert own_place.command("verify", run_id).code == 0
