"""Traces are read in pages, within bounds, whichever release of MLflow describes them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from autoinstrument.mlflow_store import trace_internals, traces
from autoinstrument.mlflow_store.run_reader import open_run
from autoinstrument.mlflow_store.traces import read_assessments_state
from autoinstrument.records import Trace, TracesLogged

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def info(number: int, **fields: Any) -> Any:
    """Return a trace as MLflow 2 describes it; 3 has other names for some fields."""
    described = {
        "request_id": f"tr-{number}",
        "timestamp_ms": 1000 + number,
        "execution_time_ms": 10,
        "status": SimpleNamespace(value="OK"),
        "request_metadata": {"mlflow.traceInputs": "in", "mlflow.traceOutputs": "out"},
        "tags": {"mlflow.traceName": "f", "team": "vision"},
    }
    return SimpleNamespace(**{**described, **fields})


def read(client: MlflowClient, pages: list[list[Any]], monkeypatch: pytest.MonkeyPatch) -> TracesLogged:
    """Read traces from a store that has these pages."""
    asked: list[Any] = []

    def search(client: Any, experiment_id: str, run_id: str, size: int, token: Any) -> tuple[list[Any], Any]:
        number = int(token or 0)
        asked.append(number)
        return pages[number], str(number + 1) if number + 1 < len(pages) else None

    monkeypatch.setattr(trace_internals, "search_traces", search)
    run_id = str(client.create_run("0").info.run_id)
    logged = open_run(client.tracking_uri, run_id).state("traces")
    assert isinstance(logged, TracesLogged)
    assert len(asked) <= len(pages) + 1
    return logged


def test_traces_of_mlflow_2(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    logged = read(client, [[info(0)]], monkeypatch)
    assert logged.rows == [
        Trace(
            trace_id="tr-0", time_ms=1000, latency_ms=10, status="OK", request="in", response="out", tokens={},
            cost_usd=None, tags={"team": "vision"}, assessments=[],
        )
    ]  # fmt: skip
    assert (logged.traces, logged.more, logged.totals) == (1, False, {"mean_latency_ms": 10, "error_rate": 0})


def test_bounds(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that are counted make the totals, fewer are shown, and reading ends before the store does."""
    monkeypatch.setattr(traces, "MOST_ROWS", 3)
    monkeypatch.setattr(traces, "MOST_TRACES", 4)
    usage = {"mlflow.trace.tokenUsage": '{"input_tokens": 2, "total_tokens": 5}'}
    pages = [[info(number, request_metadata=usage) for number in range(page, page + 2)] for page in (0, 2, 4)]
    logged = read(client, pages, monkeypatch)
    assert [trace["trace_id"] for trace in logged.rows] == ["tr-0", "tr-1", "tr-2"]
    assert (logged.traces, logged.more) == (4, True)
    assert logged.totals["total_tokens"] == 20


def test_a_scorers_own_traces_and_odd_metadata_are_left_out(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = f'{{"total_tokens": 1{"0" * 400}}}'  # more than a float holds
    odd = [
        info(number, request_metadata={"mlflow.trace.tokenUsage": text, "mlflow.trace.cost": text})
        for number, text in enumerate(["", "x", "[1]", '{"total_tokens": "5"}', '{"total_cost": NaN}', large])
    ]
    running = info(17, execution_time_ms=None, status=SimpleNamespace(value="IN_PROGRESS"))
    long = info(18, request_metadata={"mlflow.traceInputs": "x" * 5000})
    logged = read(client, [[info(16, tags={"mlflow.trace.sourceScorer": "judge"}), *odd, running, long]], monkeypatch)
    assert logged.traces == 8
    assert logged.totals == {"mean_latency_ms": 10, "error_rate": 0}
    assert logged.rows[6]["latency_ms"] is None
    assert len(logged.rows[7]["request"]) == 2001


def test_a_store_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its searches reads all traces, so that one is made; it does not count assessments."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient(tracking_uri=(tmp_path / "runs").as_uri())
    run_id = str(client.create_run("0").info.run_id)
    reader = open_run(client.tracking_uri, run_id)
    assert reader.state("traces") == TracesLogged(run_id, 0, False)
    assert read_assessments_state(reader.run) == ""


def test_values_are_the_same_whether_a_server_or_a_database_returns_them(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server's answer has floating-point numbers alone, and cuts long tags."""

    def values(given: list[Any], tag: str) -> list[Any]:
        assessments = [
            SimpleNamespace(name="a", feedback=SimpleNamespace(value=value, error=None), rationale="", metadata={},
                            create_time_ms=number)
            for number, value in enumerate(given)
        ]  # fmt: skip
        (row,) = read(client, [[info(0, assessments=assessments, tags={"note": tag})]], monkeypatch).rows
        return [row["tags"]["note"], *(each["value"] for each in row["assessments"])]

    stored = values([1, 0.5, True, "x", [1, {"b": 2, "a": 1}], None, float("inf")], "x" * 300)
    answered = values([1.0, 0.5, True, "x", [1.0, {"a": 1.0, "b": 2.0}], None, float("inf")], "x" * 300)
    assert stored == answered
    assert stored[1:] == [1, 0.5, True, "x", '[1, {"a": 1, "b": 2}]', None, "inf"]
