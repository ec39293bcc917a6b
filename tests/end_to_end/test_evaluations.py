"""An evaluation by `mlflow.genai.evaluate` reaches the Task with its rows; so does later feedback of people."""

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
    {"inputs": {"question": question, "api_key": "sk-" + "hidden"}, "expectations": {"expected_response": "Q"}}
    for question in ("q", "qq", "qqq")
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


def test_an_evaluation(own_place: Place, own_server: ClearMLServer, mlflow_server: str) -> None:
    """Live, with a person's feedback after its end; `verify` reads the store again, and finds no difference."""
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
    page = properties(task)["mlflow_run_url"]
    assert rows[0]["page"] == f"{page}/traces?selectedEvaluationId={rows[0]['trace_id']}"
    verified = own_place.command("verify", run_id)
    assert verified.code == 0, verified.stdout
