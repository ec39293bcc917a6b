"""Read the traces of a run from an MLflow store: their number, the first of them with their assessments, and totals.

Spans are not read: what a search returns is enough for a table, and one request gives 500 traces.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from autoinstrument.guard import own_calls
from autoinstrument.mlflow_store import trace_internals
from autoinstrument.mlflow_store.folder_store import reads_as_a_whole
from autoinstrument.mlflow_store.found_run import TRACES
from autoinstrument.mlflow_store.store_access import store_access
from autoinstrument.mlflow_store.store_errors import if_supported
from autoinstrument.mlflow_store.stores import StoreClient, tracking_client
from autoinstrument.records import Assessment, RunStarted, Trace, TracesLogged

MOST_TRACES = 5000
"""Number of traces after which reading ends: not every store has a call that counts."""
MOST_ROWS = 1000
"""Traces that are shown one by one."""
_PAGE = 500
"""Traces per request; a tracking server refuses more (2.16 to 3.17)."""
_LONGEST = 2000
"""Characters of a text; MLflow's previews have 1,000 (250 before 3.2), a rationale has any number."""
_LONGEST_TAG = 250
"""Characters of a tag; a tracking server cuts longer ones, a database does not (2.16 to 3.17)."""
_LONGEST_STATE = 4000
_LARGEST = 1e300
"""A number of tokens, or a cost, that counts: the sum over all traces is a float, too."""
_SCORER = "mlflow.trace.sourceScorer"
"""Tag of a trace of a scorer's own work, which MLflow's pages leave out too (3.17)."""
_EVALUATION = "mlflow.assessment.sourceRunId"
"""Metadata of an assessment: the evaluation that has made it. A trace may be evaluated by several runs."""
_TOKENS = ("input_tokens", "output_tokens", "total_tokens")


def read_traces(client: StoreClient, run: Any) -> TracesLogged:
    """Return the traces of a run (`mlflow.entities.Run`), the oldest first.

    Raises:
        mlflow.exceptions.MlflowException: the store does not answer.
    """
    run_id, experiment_id = run.info.run_id, run.info.experiment_id
    page, token = ([], None) if TRACES in client.lacks else _page(client, experiment_id, run_id, None)
    if not page:
        return TracesLogged(run_id, 0, False)
    state = assessments_state(client, experiment_id, run_id)
    if state:  # it must not count assessments that were made after the traces were read
        page, token = _page(client, experiment_id, run_id, None)
    count, rows, totals = 0, list[Trace](), _Totals()
    while True:
        for trace in (_trace(info, run_id) for info in page if _SCORER not in (info.tags or {})):
            count += 1
            totals.add(trace)
            if len(rows) < MOST_ROWS:
                rows.append(trace)
        if not token or count >= MOST_TRACES:
            return TracesLogged(run_id, count, bool(token), rows, totals.values(), state)
        page, token = _page(client, experiment_id, run_id, token)


def assessments_state(client: StoreClient, experiment_id: str, run_id: str) -> str:
    """Return how many assessments a run's traces have, by name, with their mean: two requests with small answers.

    The text changes when an assessment is added, removed or overridden, or gets a value with another mean. It is
    "" if the store does not count assessments: file stores, and releases before 3.9.

    Raises:
        mlflow.exceptions.MlflowException: the store does not answer.
    """
    with store_access(client.tracking_uri, client.workspace):
        found = if_supported(lambda: [trace_internals.assessment_counts(client.tracking.store, experiment_id, run_id)])
    if not found or found[0] is None:
        return ""
    counts, means = found[0]
    items = [
        f"{name}: {count:.0f}" + (f", mean {means[name]:.6g}" if name in means else "")
        for name, count in sorted(counts.items())
    ]
    return "; ".join(items)[:_LONGEST_STATE] or "none"


def read_assessments_state(run: RunStarted) -> str:
    """Return the `assessments_state` of a run.

    Raises:
        Exception: the store does not answer; it raises what its driver raises.
    """
    with own_calls():
        return assessments_state(StoreClient(run.tracking_uri, run.workspace), run.experiment_id, run.run_id)


def run_of_trace(tracking_uri: str, workspace: str, trace_id: str) -> str:
    """Return the id of the run that was active when a trace began; "" for none, and for a trace that is not stored yet.

    Raises:
        mlflow.exceptions.MlflowException: the store does not answer.
    """
    with store_access(tracking_uri, workspace):
        found = if_supported(lambda: [trace_internals.trace_metadata(tracking_client(tracking_uri).store, trace_id)])
    return found[0].get("mlflow.sourceRun", "") if found else ""


def _page(client: StoreClient, experiment_id: str, run_id: str, token: Any) -> tuple[list[Any], Any]:
    """Return a page of a run's traces, and the token of the next one; no traces if the store has none at all."""
    size = MOST_TRACES if reads_as_a_whole(client.tracking.store) else _PAGE

    def ask() -> list[tuple[list[Any], Any]]:
        return [trace_internals.search_traces(client.tracking, experiment_id, run_id, size, token)]

    with store_access(client.tracking_uri, client.workspace):
        return next(iter(if_supported(ask)), ([], None))


def _trace(info: Any, run_id: str) -> Trace:
    """Return a trace, given as MLflow's `TraceInfo`: of 2.x, of the tracing client's third version, or of 3.x."""
    metadata: Mapping[str, str] = getattr(info, "trace_metadata", None) or getattr(info, "request_metadata", None) or {}
    state = getattr(info, "state", None) or info.status
    tokens, cost = _numbers(metadata.get("mlflow.trace.tokenUsage")), _numbers(metadata.get("mlflow.trace.cost"))
    request = getattr(info, "request_preview", None) or metadata.get("mlflow.traceInputs")
    response = getattr(info, "response_preview", None) or metadata.get("mlflow.traceOutputs")
    return Trace(
        trace_id=str(getattr(info, "trace_id", None) or info.request_id),
        time_ms=int(info.timestamp_ms or 0),
        latency_ms=None if info.execution_time_ms is None else int(info.execution_time_ms),
        status=str(getattr(state, "value", state)),
        request=_cut(request),
        response=_cut(response),
        tokens={name: tokens[name] for name in _TOKENS if name in tokens},
        cost_usd=cost.get("total_cost"),
        tags={
            name: _cut(value, _LONGEST_TAG)
            for name, value in sorted((info.tags or {}).items())
            if not name.startswith("mlflow.")
        },
        assessments=_assessments(getattr(info, "assessments", None) or (), run_id),
    )


def _assessments(found: Iterable[Any], run_id: str) -> list[Assessment]:
    """Return the assessments that hold: by people, by programs, and by the run's own evaluation, if it is one."""
    holding = [
        each
        for each in found
        if getattr(each, "valid", None) is not False and (each.metadata or {}).get(_EVALUATION, run_id) == run_id
    ]
    holding.sort(key=lambda each: (each.create_time_ms or 0, str(getattr(each, "assessment_id", ""))))
    return [shown for each in holding if (shown := _assessment(each)) is not None]


def _assessment(each: Any) -> Assessment | None:
    """Return an assessment; None for the reference to an issue, which assesses nothing."""
    expectation, feedback = getattr(each, "expectation", None), getattr(each, "feedback", None)
    said = expectation or feedback
    if said is None:
        return None
    error = getattr(feedback, "error", None)
    why = getattr(error, "error_message", None) or getattr(error, "error_code", None) if error else each.rationale
    return Assessment(
        name=str(each.name), value=_json(said.value), rationale=_cut(why), is_expectation=expectation is not None
    )


def _json(value: Any) -> Any:
    """Return a value of an assessment as a text, number or truth value; a list or an object as JSON."""
    if isinstance(value, str):
        return _cut(value)
    plain = _plain(value)
    return _cut(json.dumps(plain, ensure_ascii=False, sort_keys=True)) if isinstance(plain, (list, dict)) else plain


def _plain(value: Any) -> Any:
    """Return a value as JSON has it, whichever way it came: a server's answer has only floating-point numbers."""
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _cut(text: Any, most: int = _LONGEST) -> str:
    shown = "" if text is None else str(text)
    return shown if len(shown) <= most else f"{shown[:most]}…"


def _numbers(text: str | None) -> dict[str, float]:
    """Return the numbers of a JSON object that a float can hold, {} for anything else: anybody may write metadata."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    found = value.items() if isinstance(value, dict) else ()
    return {
        name: number
        for name, number in found
        if isinstance(number, (int, float)) and not isinstance(number, bool) and abs(number) <= _LARGEST
    }


class _Totals:
    """Sums over traces."""

    def __init__(self) -> None:
        self._tokens: dict[str, float] = {}
        self._cost: float | None = None
        self._ended = self._errors = self._timed = self._latency = 0

    def add(self, trace: Trace) -> None:
        for name, number in trace["tokens"].items():
            self._tokens[name] = self._tokens.get(name, 0) + number
        if trace["cost_usd"] is not None:
            self._cost = (self._cost or 0.0) + trace["cost_usd"]
        if trace["status"] in ("OK", "ERROR"):
            self._ended += 1
            self._errors += trace["status"] == "ERROR"
        if trace["latency_ms"] is not None and trace["status"] != "IN_PROGRESS":
            self._timed += 1
            self._latency += trace["latency_ms"]

    def values(self) -> dict[str, float]:
        """Return the totals that are known."""
        found = dict(self._tokens)
        if self._cost is not None:
            found["cost_usd"] = self._cost
        if self._timed:
            found["mean_latency_ms"] = self._latency / self._timed
        if self._ended:
            found["error_rate"] = self._errors / self._ended
        return found
