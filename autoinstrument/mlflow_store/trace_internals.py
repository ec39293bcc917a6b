"""The private parts of MLflow with which traces are read, one function each; see `internals` for the others.

All were seen in MLflow 2.16 to 3.17, unless a function says otherwise.
"""

from __future__ import annotations

from typing import Any


def search_traces(
    client: Any, experiment_id: str, run_id: str, page_size: int, token: str | None
) -> tuple[list[Any], Any]:
    """Return a page of a run's traces as `TraceInfo`, the oldest first, and the token of the next page, if any.

    The public call also reads the spans of each trace.
    """
    page, token = client.store.search_traces(
        [experiment_id],
        filter_string=f"run_id = '{run_id}'",
        max_results=page_size,
        order_by=["timestamp_ms ASC"],
        page_token=token,
    )
    return list(page), token


def first_trace(client: Any, experiment_id: str) -> list[Any]:
    """Return one of an experiment's traces as `TraceInfo`, [] if it has none."""
    page, _ = client.store.search_traces([experiment_id], max_results=1)
    return list(page)


def trace_metadata(store: Any, trace_id: str) -> dict[str, str]:
    """Return the metadata of one trace; the public call also reads its spans."""
    info = store.get_trace_info(trace_id)
    return dict(getattr(info, "trace_metadata", None) or info.request_metadata)


def assessment_counts(store: Any, experiment_id: str, run_id: str) -> tuple[dict[str, float], dict[str, float]] | None:
    """Return the number of valid assessments of a run's traces, and the mean of their values, both by name.

    The call behind MLflow's own dashboards, of databases and servers from 3.9 to 3.17. None if this MLflow has no such
    call; a store that lacks it raises an exception.
    """
    try:
        from mlflow.entities.trace_metrics import AggregationType, MetricAggregation, MetricViewType
    except ImportError:
        return None

    def by_name(metric: str, aggregation: Any) -> dict[str, float]:
        points = store.query_trace_metrics(
            [experiment_id],
            MetricViewType.ASSESSMENTS,
            metric,
            [MetricAggregation(aggregation_type=aggregation)],
            dimensions=["assessment_name"],
            filters=[f"trace.metadata.`mlflow.sourceRun` = '{run_id}'"],
        )
        return {str(point.dimensions["assessment_name"]): float(point.values[aggregation.value]) for point in points}

    return by_name("assessment_count", AggregationType.COUNT), by_name("assessment_value", AggregationType.AVG)
