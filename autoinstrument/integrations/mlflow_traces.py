"""Mirror traces and their assessments: note which run has changed; the worker reads its traces when it has ended.

A run may have 100,000 traces, and an evaluation assesses each of them: a call costs a dictionary entry here.
"""

from __future__ import annotations

import functools
from collections import deque
from types import ModuleType
from typing import Any

from autoinstrument.agent import Agent
from autoinstrument.guard import guard
from autoinstrument.integrations.mlflow_internals import TRACING_CLIENT, evaluating_run, source_run
from autoinstrument.integrations.observing import know, watched
from autoinstrument.integrations.wrapping import wrap_methods
from autoinstrument.mlflow_store.traces import run_of_trace
from autoinstrument.mlflow_store.workspaces import active
from autoinstrument.records import TracesChanged

_MOST_LOOKED_UP = 100
"""Traces whose runs are looked up at a time, a request each; `sync` notices the assessments of more."""
_assessed: deque[tuple[Any, str, str]] = deque()
"""Traces that were assessed by others than an evaluation: client, workspace and id."""


def _linked(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    _changed(the_agent, client, call["run_id"])


def _started(the_agent: Agent, client: Any, _: dict[str, Any], trace: Any) -> None:
    """Note the run that was active when the trace began; the trace names it too, and again when it ends (2.x)."""
    _changed(the_agent, client, source_run(trace))


def _assessment_logged(the_agent: Agent, client: Any, call: dict[str, Any], assessment: Any) -> None:
    """Note the run of an evaluation, which its assessments name; of any other one, look up the run of the trace."""
    if run_id := evaluating_run(assessment):
        _changed(the_agent, client, run_id)
    else:
        _assessment_changed(the_agent, client, call, assessment)


def _assessment_changed(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    if len(_assessed) < _MOST_LOOKED_UP:
        _assessed.append((client, active(), call["trace_id"]))
    the_agent.post_soon("", "assessments", functools.partial(_look_up, the_agent))


def _look_up(the_agent: Agent) -> None:
    """Find the runs of assessed traces, on the sending thread."""
    seen: set[str] = set()
    with guard("looking up the runs of traces"):
        while _assessed:
            client, workspace, trace_id = _assessed.popleft()
            if trace_id not in seen:
                seen.add(trace_id)
                _changed(the_agent, client, run_of_trace(client.tracking_uri, workspace, trace_id), workspace)


def _changed(the_agent: Agent, client: Any, run_id: str | None, workspace: str | None = None) -> None:
    if run_id:
        know(the_agent, client, run_id, workspace=workspace)
        the_agent.post_soon(run_id, "traces", functools.partial(TracesChanged, run_id))


TRACKING: dict[str, Any] = {
    "link_traces_to_run": watched(_linked, "trace_ids", "run_id"),
    "unlink_traces_from_run": watched(_linked, "trace_ids", "run_id"),
    "start_trace": watched(_started),
    "end_trace": watched(_started),
}
"""Methods of `TrackingServiceClient`; one that a version lacks is left out, here and below."""

_TRACING: dict[str, Any] = {
    "start_trace": watched(_started),
    "start_trace_v3": watched(_started),
    "end_trace": watched(_started),
    "log_assessment": watched(_assessment_logged, "trace_id", "assessment"),
    "update_assessment": watched(_assessment_changed, "trace_id", "assessment_id"),
    "delete_assessment": watched(_assessment_changed, "trace_id", "assessment_id"),
}
"""Methods of `TracingClient`, which exists since mlflow 3.0."""


def instrument_tracing(module: ModuleType) -> None:
    """Wrap `TracingClient` of `mlflow.tracing.client`."""
    wrap_methods(module, TRACING_CLIENT, _TRACING)
