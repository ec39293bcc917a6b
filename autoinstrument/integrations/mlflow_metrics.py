"""Mirror single metric points, which scripts log most often.

Everything here takes microseconds of each training step: `users_call` and `guard` are written out, and a point of a run
that is known takes the shortest way into the buffer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from autoinstrument.agent import Agent
from autoinstrument.agent.process_agent import agent
from autoinstrument.guard import is_own_call, swallow
from autoinstrument.integrations import mlflow_models
from autoinstrument.integrations.observing import know
from autoinstrument.mlflow_store import describe
from autoinstrument.records import MetricsLogged
from autoinstrument.tracebacks import leave_out_frame, users_call


def log_metric(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Mirror one metric point; its time is taken here, as MLflow would take it, so that both sides have the same."""
    if is_own_call():
        with users_call:
            return wrapped(*args, **kwargs)
    if len(args) <= 3 and kwargs.get("timestamp") is None:
        kwargs = {**kwargs, "timestamp": int(time.time() * 1000)}
    elif len(args) > 3 and args[3] is None:
        args = (*args[:3], int(time.time() * 1000), *args[4:])
    try:
        result = wrapped(*args, **kwargs)
    except BaseException as error:
        leave_out_frame(error)
        raise
    try:
        the_agent = agent()
        if the_agent is not None:
            _point_logged(the_agent, client, *args, **kwargs)
    except Exception as error:
        if not swallow("mirroring log_metric", error):
            raise
    return result


def _point_logged(
    the_agent: Agent,
    client: Any,
    run_id: str,
    key: str,
    value: Any,
    timestamp: int,
    step: int | None = None,
    synchronous: bool | None = None,
    dataset_name: str | None = None,
    dataset_digest: str | None = None,
    model_id: str | None = None,
    *_: Any,
    **__: Any,
) -> None:
    """Hand over a point, given the arguments of the client's `log_metric` (six in mlflow 2.16, nine in 3.17)."""
    point = (key, value if value.__class__ is float else describe.number(value), int(timestamp), int(step or 0))
    if not the_agent.post_point(run_id, point):
        know(the_agent, client, run_id)
        the_agent.post(MetricsLogged(run_id, [point]))
    if model_id:
        data_set = str(dataset_name or ""), str(dataset_digest or "")
        mlflow_models.metrics_logged(the_agent, client, str(model_id), [(*point, *data_set)])
