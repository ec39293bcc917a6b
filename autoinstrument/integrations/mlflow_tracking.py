"""Mirror runs: wrap MLflow's tracking calls, and hand the agent records of what they did.

Every call of the tracking API ends in `TrackingServiceClient` (see `mlflow_internals`). Only resuming a run does not:
`start_run` asks the store directly, so `start_run` and `end_run` are wrapped as well.

Each wrapper does MLflow's work first, outside any guard: its result and its exceptions are the user's.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any

from autoinstrument.agent import Agent
from autoinstrument.agent.process_agent import agent
from autoinstrument.guard import guard, is_own_call
from autoinstrument.integrations import (
    exit_handlers,
    mlflow_artifacts,
    mlflow_experiments,
    mlflow_inputs,
    mlflow_metrics,
    mlflow_models,
    mlflow_traces,
)
from autoinstrument.integrations.mlflow_internals import TRACKING_CLIENT
from autoinstrument.integrations.observing import complete_later, know, watched
from autoinstrument.integrations.wrapping import wrap, wrap_methods
from autoinstrument.mlflow_store import describe
from autoinstrument.mlflow_store.store_access import store_access
from autoinstrument.mlflow_store.training_stores import note_stores
from autoinstrument.mlflow_store.workspaces import active
from autoinstrument.records import (
    MetricsLogged,
    ParamsLogged,
    Record,
    RunDeleted,
    RunEnded,
    RunRestored,
    TagDeleted,
    TagsSet,
)
from autoinstrument.tracebacks import users_call

ENDED = ("FINISHED", "FAILED", "KILLED")
_MAX_TRACEBACK = 64_000
_LONG = 500
"""Characters of a value that every store keeps: stores cut parameters at 500 or 6,000, tags at 5,000 or 8,000."""

_logging = threading.local()


def instrument_client(module: ModuleType) -> None:
    """Wrap `TrackingServiceClient` of `mlflow.tracking._tracking_service.client`."""
    more = {**mlflow_models.TRACKING, **mlflow_traces.TRACKING, **mlflow_experiments.methods()}
    wrap_methods(module, TRACKING_CLIENT, {**_CLIENT, **more})
    note_stores(module, TRACKING_CLIENT)


def instrument_fluent(module: ModuleType) -> None:
    """Wrap functions of `mlflow.tracking.fluent`, and register at-exit handlers before and after MLflow's own."""
    if agent() is None:
        return
    package = sys.modules.get("mlflow")
    for name, around in _FLUENT.items():
        original = vars(module).get(name)
        wrap(module, name, around)
        if package is not None and original is not None and vars(package).get(name) is original:
            setattr(package, name, getattr(module, name))  # MLflow was imported before the agent was armed
    exit_handlers.register(module)


def _created(the_agent: Agent, client: Any, call: dict[str, Any], run: Any) -> None:
    uri, workspace = client.tracking_uri, active()
    make = describe.started(run, uri, workspace, resumed=False, owned=True)
    the_agent.run_started(run.info.run_id, make, tracking_uri=uri, workspace=workspace)
    mlflow_inputs.run_began(the_agent, run.info.run_id)


def _log_param(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    know(the_agent, client, call["run_id"])
    value = call["value"]
    text = str(value)  # once: it may take long
    the_agent.post(ParamsLogged(call["run_id"], [(call["key"], text, type(value).__name__)]))
    _read_back(the_agent, client, call["run_id"], "params", [text])


def _log_batch(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    run_id = call["run_id"]
    metrics, params, tags = (call.get(kind) or () for kind in ("metrics", "params", "tags"))
    if not (metrics or params or tags):
        return
    know(the_agent, client, run_id)
    if params:
        types = getattr(_logging, "types", {})
        the_agent.post(
            ParamsLogged(run_id, [(param.key, str(param.value), types.get(param.key, "")) for param in params])
        )
        _read_back(the_agent, client, run_id, "params", [str(param.value) for param in params])
    if metrics:
        points = [
            (metric.key, describe.number(metric.value), int(metric.timestamp), int(metric.step or 0))
            for metric in metrics
        ]
        mlflow_models.batch_logged(the_agent, client, metrics, points)
        the_agent.post(MetricsLogged(run_id, points))
    if tags:
        the_agent.post(TagsSet(run_id, {tag.key: str(tag.value) for tag in tags}))
        _read_back(the_agent, client, run_id, "tags", [str(tag.value) for tag in tags])


def _batch_refused(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    """Read back parameters and tags soon, metrics at the run's end: a folder store may keep a part of a batch."""
    complete_later(the_agent, client, call, None)
    run_id = call["run_id"]
    if the_agent.knows(run_id):
        for kind in ("params", "tags"):
            if call.get(kind):
                the_agent.post_soon(run_id, kind, _read_kept(the_agent, client, run_id, kind))


def _read_kept(the_agent: Agent, client: Any, run_id: str, kind: str) -> Callable[[], Record]:
    return functools.partial(_kept, client, the_agent.workspace_of(run_id), run_id, kind)


def _read_back(the_agent: Agent, client: Any, run_id: str, kind: str, values: list[str]) -> None:
    """Read back values that the store may have changed: it cuts long ones, and removes blanks at their ends."""
    if any(len(value) > _LONG or value != value.strip() for value in values):
        the_agent.post_soon(run_id, kind, _read_kept(the_agent, client, run_id, kind))


def _kept(client: Any, workspace: str, run_id: str, kind: str) -> Record:
    """Return the run's parameters or tags as the store has them."""
    with store_access(client.tracking_uri, workspace):
        data = client.get_run(run_id).data
    if kind == "tags":
        return TagsSet(run_id, dict(data.tags))
    return ParamsLogged(run_id, [(key, value, "") for key, value in data.params.items()])


def _set_tag(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    know(the_agent, client, call["run_id"], linked=True)
    text = str(call["value"])
    the_agent.post(TagsSet(call["run_id"], {call["key"]: text}))
    _read_back(the_agent, client, call["run_id"], "tags", [text])


def _delete_tag(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    know(the_agent, client, call["run_id"], linked=True)
    the_agent.post(TagDeleted(call["run_id"], call["key"]))


def _deleted(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    know(the_agent, client, call["run_id"], linked=True)
    the_agent.post(RunDeleted(call["run_id"]))


def _restored(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    know(the_agent, client, call["run_id"], linked=True)
    the_agent.post(RunRestored(call["run_id"]))


def _terminated(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    status = call.get("status") or "FINISHED"
    know(the_agent, client, call["run_id"], linked=True)
    _ended(the_agent, call["run_id"], str(status), call.get("end_time"))


def _updated(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    run_id, status, name = call["run_id"], call.get("status"), call.get("name")
    know(the_agent, client, run_id, linked=True)
    if name:
        # The store keeps the tag beside the name (mlflow 2.16 to 3.17).
        the_agent.post(TagsSet(run_id, {describe.RUN_NAME: str(name)}))
    if status in ENDED:
        _ended(the_agent, run_id, str(status), None)


_watch_terminated = watched(_terminated, "run_id", "status", "end_time")


def _set_terminated(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Mirror a run's end; its time is taken here, as MLflow would take it, so that both sides have the same."""
    if not (is_own_call() or any(args[2:]) or kwargs.get("end_time")):
        args, kwargs = args[:2], {**kwargs, "end_time": int(time.time() * 1000)}
    with users_call:
        return _watch_terminated(wrapped, client, args, kwargs)


def _ended(the_agent: Agent, run_id: str, status: str, end_time: int | None) -> None:
    if not the_agent.knows(run_id):
        return
    # Inside `with start_run():` and inside `except:` the exception that ends the run is the one being handled.
    error = sys.exc_info()[1]
    text = "" if error is None or status == "FINISHED" else "".join(traceback.format_exception(error))
    the_agent.run_ended(
        RunEnded(run_id, status, end_time or int(time.time() * 1000), text[-_MAX_TRACEBACK:], the_agent.is_exiting)
    )


def _start_run(wrapped: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Mirror the resumption of a run; the creation of one has been seen by the client's `create_run`."""
    with users_call:
        run = wrapped(*args, **kwargs)
    if not is_own_call():
        with guard("mirroring start_run"):
            the_agent = agent()
            if the_agent is not None and not the_agent.is_open(run.info.run_id):
                uri, workspace = sys.modules["mlflow"].get_tracking_uri(), active()
                make = describe.started(run, uri, workspace, resumed=True, owned=True)
                the_agent.run_started(run.info.run_id, make, tracking_uri=uri, workspace=workspace, again=True)
                mlflow_inputs.run_began(the_agent, run.info.run_id)
    return run


def _end_run(wrapped: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Mirror the end of the active run where it did not go through the client's `set_terminated`."""
    with guard("mirroring end_run"):
        mlflow = sys.modules.get("mlflow")  # gone where its import failed, although its at-exit handler runs
        run = mlflow.active_run() if mlflow is not None else None
    with users_call:
        result = wrapped(*args, **kwargs)
    with guard("mirroring end_run"):
        the_agent = agent()
        if the_agent is not None and run is not None and the_agent.is_open(run.info.run_id) and not is_own_call():
            status = kwargs.get("status", args[0] if args else "FINISHED")
            _ended(the_agent, run.info.run_id, str(status), None)
    return result


def _log_params(wrapped: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Keep the types of the parameters for the `log_batch` below, which MLflow calls with strings."""
    with guard("the types of parameters"):
        params = kwargs.get("params", args[0] if args else None)
        if isinstance(params, dict):
            _logging.types = {key: type(value).__name__ for key, value in params.items()}
    with users_call:
        try:
            return wrapped(*args, **kwargs)
        finally:
            _logging.types = {}


_FLUENT: dict[str, Any] = {"start_run": _start_run, "end_run": _end_run, "log_params": _log_params}
"""Functions of `mlflow.tracking.fluent`."""

_CLIENT: dict[str, Any] = {
    "create_run": watched(_created, "experiment_id", "start_time", "tags", "run_name"),
    "log_metric": mlflow_metrics.log_metric,
    "log_param": watched(_log_param, "run_id", "key", "value"),
    "log_batch": watched(_log_batch, "run_id", "metrics", "params", "tags", refused=_batch_refused),
    "set_tag": watched(_set_tag, "run_id", "key", "value"),
    "delete_tag": watched(_delete_tag, "run_id", "key"),
    "delete_run": watched(_deleted, "run_id"),
    "restore_run": watched(_restored, "run_id"),
    "update_run": watched(_updated, "run_id", "status", "name"),
    "set_terminated": _set_terminated,
    **mlflow_artifacts.METHODS,
}
"""Methods of `TrackingServiceClient`; one that a version lacks is left out."""
