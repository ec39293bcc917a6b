"""The table of a run's traces: bounded, without secrets, and with links that open."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from autoinstrument.mirror.mapping import pictures, trace_table
from autoinstrument.records import Assessment, RunStarted, Trace, TracesLogged

PAGE = "https://mlflow.example.com/#/experiments/0/runs/1"
RUN = RunStarted("1", "name", "0", "e", "https://h", PAGE, "", 1, "", {}, False, True, "")


def a_trace(number: int = 0, **fields: Any) -> Trace:
    trace = Trace(
        trace_id=f"tr-{number}", time_ms=1_700_000_000_000, latency_ms=10, status="OK", request="q", response="r",
        tokens={}, cost_usd=None, tags={}, assessments=[],
    )  # fmt: skip
    trace.update(fields)  # type: ignore[typeddict-item]
    return trace


def logged(*traces: Trace, count: int = 0) -> TracesLogged:
    return TracesLogged("1", count or len(traces), False, list(traces))


def shown(*traces: Trace) -> list[dict[str, str]]:
    """Return the rows of the CSV."""
    return list(csv.DictReader(io.StringIO(trace_table.trace_table(logged(*traces), RUN).as_csv())))


def figure(found: TracesLogged) -> Any:
    first = next(trace_table.plots("task", found, trace_table.trace_table(found, RUN), 1))
    assert len(first["plot_str"]) <= pictures.MAX_PLOT
    return json.loads(first["plot_str"])


@pytest.mark.parametrize(
    ("run_url", "trace_id", "page"),
    [
        ("", "tr-1", ""),
        (PAGE, "", f"{PAGE}/traces"),
        (PAGE, "tr-1", f"{PAGE}/traces?selectedEvaluationId=tr-1"),
        (f"{PAGE}?workspace=a%20b", "", f"{PAGE}/traces?workspace=a%20b"),
        (f"{PAGE}?workspace=a", "tr-1", f"{PAGE}/traces?selectedEvaluationId=tr-1&workspace=a"),
    ],
)
def test_pages(run_url: str, trace_id: str, page: str) -> None:
    assert trace_table.traces_page(run_url, trace_id) == page


def test_columns_without_a_value_are_left_out() -> None:
    (row,) = shown(a_trace())
    assert list(row) == ["trace_id", "time", "status", "latency_ms", "request", "response", "page"]
    (row,) = shown(a_trace(tokens={"total_tokens": 3}, cost_usd=0.5, tags={"team": "vision"}))
    assert [row[name] for name in ("total_tokens", "cost_usd", "tags")] == ["3", "0.5", '{"team": "vision"}']


def test_secrets() -> None:
    secret = a_trace(
        request='{"api_key": "sk-1"}', response='{"token": "sk-1", "x', tags={"password": "sk-1"},
        assessments=[
            Assessment(name="a", value="token=sk-1", rationale="Bearer sk-1sk-1sk-1", is_expectation=False),
            Assessment(name="b", value='{"secret": "sk-1"}', rationale="", is_expectation=True),
        ],
    )  # fmt: skip
    found = logged(secret)
    table = trace_table.trace_table(found, RUN)
    assert "sk-1" not in table.as_csv()
    assert "sk-1" not in json.dumps(list(trace_table.plots("task", found, table, 1)))


def test_a_request_is_not_html() -> None:
    """Plotly shows a few tags in the cells of a table, links among them; the only link is that of the trace."""
    cells = figure(logged(a_trace(request='<a href="https://evil">x</a>\nnext')))["data"][0]["cells"]["values"]
    assert cells[0] == [f'<a href="{PAGE}/traces?selectedEvaluationId=tr-0">tr-0</a>']
    assert cells[4] == ['&lt;a href="https://evil"&gt;x&lt;/a&gt;<br>next']


def test_long_texts_and_many_rows_fit_into_a_plot() -> None:
    many = [
        Assessment(name=f"a{number}", value="x" * 2000, rationale="y" * 2000, is_expectation=False)
        for number in range(20)
    ]
    found = logged(*(a_trace(number, assessments=many) for number in range(1000)), count=5000)
    plot = figure(found)
    rows = len(plot["data"][0]["cells"]["values"][0])
    assert 100 < rows < 1000
    assert plot["layout"]["title"] == f"MLflow traces (first {rows} of 5000 rows)"


def test_a_judge_and_a_person_may_differ() -> None:
    assessments = [
        Assessment(name="good", value=True, rationale="clear", is_expectation=False),
        Assessment(name="good", value=False, rationale="wrong", is_expectation=False),
    ]
    (row,) = shown(a_trace(assessments=assessments))
    assert (row["good/value"], row["good/rationale"]) == ("true; false", "clear; wrong")


def test_a_scorer_that_failed_has_its_error_and_no_value() -> None:
    failed = Assessment(name="good", value=None, rationale="ZeroDivisionError", is_expectation=False)
    (row,) = shown(a_trace(assessments=[failed]))
    assert "good/value" not in row
    assert row["good/rationale"] == "ZeroDivisionError"


def test_a_trace_in_progress_has_no_points() -> None:
    assert not list(trace_table.points("task", logged(a_trace(status="IN_PROGRESS", latency_ms=None))))


def test_strings_that_are_not_valid_text() -> None:
    """JSON may name half of a surrogate pair, and be nested deeper than Python goes."""
    (row,) = shown(a_trace(request='{"a": "\\ud800", "token": "x"}', response="[" * 990 + "]" * 990))
    assert row["request"] == '{"a": "\\ud800", "token": "********"}'
    assert row["response"] == "[" * 990 + "]" * 990
    trace_table.trace_table(logged(a_trace(request="\ud800")), RUN).as_csv().encode()
