"""Traces and assessments make a run's traces be read when it ends, at the cost of a dictionary entry per call."""

from __future__ import annotations

from typing import Any

import pytest
from mlflow.entities import AssessmentSource, Feedback, TraceInfo, TraceLocation, TraceState
from mlflow.tracing import client as module

from autoinstrument.integrations import mlflow_traces
from autoinstrument.records import TracesChanged
from tests.unit.integrations.conftest import Recorder, copied


@pytest.fixture
def client(uri: str, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> Any:
    copy = copied(module, "TracingClient")
    mlflow_traces.instrument_tracing(copy)
    return copy.TracingClient(uri)


@pytest.fixture
def trace_id(client: Any, recorder: Recorder) -> str:
    """A trace of the run "run"."""
    recorder.runs.append("run")
    info = TraceInfo(
        "tr-1", TraceLocation.from_experiment_id("0"), 1, TraceState.OK, trace_metadata={"mlflow.sourceRun": "run"}
    )
    client.start_trace(info)
    return "tr-1"


def test_a_trace_names_its_run(trace_id: str, recorder: Recorder) -> None:
    assert recorder.reads.keys() == {("run", "traces")}
    assert recorder.reads["run", "traces"]() == TracesChanged("run")


def test_an_evaluations_assessment_names_its_run(client: Any, trace_id: str, recorder: Recorder) -> None:
    recorder.reads.clear()
    recorder.runs.append("evaluation")
    client.log_assessment(trace_id, Feedback("good", True, metadata={"mlflow.assessment.sourceRunId": "evaluation"}))
    assert recorder.reads.keys() == {("evaluation", "traces")}


def test_the_run_of_a_persons_assessment_is_looked_up_later(client: Any, trace_id: str, recorder: Recorder) -> None:
    person = AssessmentSource("HUMAN", "anna")
    given = client.log_assessment(trace_id, Feedback("good", True, source=person))
    for change in (
        lambda: client.log_assessment(trace_id, Feedback("good", True, source=person)),
        lambda: client.update_assessment(trace_id, given.assessment_id, Feedback("good", False, source=person)),
        lambda: client.delete_assessment(trace_id, given.assessment_id),
    ):
        recorder.reads.clear()
        change()
        assert recorder.reads.keys() == {("", "assessments")}
        assert recorder.reads["", "assessments"]() is None
        assert ("run", "traces") in recorder.reads


def test_lookups_are_bounded(client: Any, trace_id: str, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_traces, "_MOST_LOOKED_UP", 2)
    asked: list[str] = []
    monkeypatch.setattr(mlflow_traces, "run_of_trace", lambda uri, workspace, trace_id: asked.append(trace_id) or "")
    for number in range(5):
        mlflow_traces._assessment_changed(recorder, client, {"trace_id": f"tr-{number}"}, None)  # type: ignore[arg-type]
    recorder.reads["", "assessments"]()
    assert len(asked) == 2
