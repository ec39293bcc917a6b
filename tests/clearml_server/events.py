"""Receive events (README, "Events"; recorded in 06_events)."""

from __future__ import annotations

import math
from collections import Counter
from datetime import datetime
from typing import Any

from . import bson
from .envelope import ApiError, Doc, bad_request, validation_error
from .event_log import EventLog
from .metrics import EVENT_TYPES, SCALAR, update_model, update_task
from .registry import Call, endpoint
from .schema import REQUIRED_STR
from .state import State, iso_ms, now, now_ms

MAX_NAME_BYTES = 32766
_FLOAT32_END = 2.0**128 - 2.0**103
"""Numbers from here on are nearer to 2 ** 128 than to the largest 32-bit float."""
_INT64 = range(-(2**63), 2**63)


@endpoint("events.add")
def add(state: State, call: Call) -> Doc:
    return add_events(state, [call.data], call.worker)


@endpoint("events.add_batch")
def add_batch(state: State, call: Call) -> Doc:
    """A body of another type than json-lines is taken as a batch of one."""
    if call.batch is None:
        return add_events(state, [call.data], call.worker)
    if not call.batch:
        raise bad_request(17, "Batch request contains no items")
    return add_events(state, call.batch, call.worker)


def add_events(state: State, batch: list[Doc], worker: str) -> Doc:
    """Store the valid events; invalid ones beside them are counted, and a batch of invalid events is refused.

    A value that the event index refuses makes the call a 500/100: the good events of the batch are stored then, but
    last_metrics and last_iteration do not follow.
    """
    _check_settings(batch)
    errors: Counter[str] = Counter()
    good: list[Doc] = []
    for event in batch:
        problem = _problem(state, event)
        if problem:
            errors[problem] += 1
        else:
            good.append(_prepared(event, worker))
    if not good:
        raise bad_request(131, "Events not added: " + ", ".join(f"{text}={count}" for text, count in errors.items()))
    for event in good:
        _check_number(event)
    refused = [reason for event in good if (reason := _index_problem(event))]
    for event in good:
        if not _index_problem(event):
            state.events.setdefault(event["task"], EventLog()).add(event)
    if refused:
        text = f"General data error: err={len(refused)} document(s) failed to index., extra_info={refused[0]}"
        raise ApiError(500, 100, text)
    for owner in dict.fromkeys(event["task"] for event in good):
        of_owner = [event for event in good if event["task"] == owner]
        if of_owner[0]["model_event"]:
            update_model(state, state.models[owner], of_owner)
        else:
            update_task(state, state.tasks[owner], of_owner)
    return {"added": len(good), "errors": errors.total(), "errors_info": dict(errors)}


def _check_settings(batch: list[Doc]) -> None:
    """All events of a Task or model agree in `allow_locked`, and no id is a Task's in one and a model's in another.

    A model's events name it as `model`, or as `task` like others (source: clearml-server's `add_events`).
    """
    seen: dict[str, bool] = {}
    owners: dict[bool, set[str]] = {True: set(), False: set()}
    for event in batch:
        if event.get("model_event") and event.get("model") is not None:
            event["task"] = event.pop("model")
        task_id, allowed = event.get("task"), bool(event.get("allow_locked"))
        if task_id and seen.setdefault(task_id, allowed) != allowed:
            raise validation_error(f"Inconsistent allow_locked setting in the passed events for {task_id}")
        owners[bool(event.get("model_event"))].add(task_id or "")
    if both := (owners[True] & owners[False]) - {""}:
        raise validation_error(f"Inconsistent model_event setting in the passed events): tasks=({', '.join(both)}")


def _problem(state: State, event: Doc) -> str | None:
    """Why an event is not added; a published Task is locked and shown like an unknown one."""
    kind, task_id = event.get("type"), event.get("task")
    if kind is None:
        return "Event must have a 'type' field"
    if kind not in EVENT_TYPES:
        return f"Invalid event type {kind}"
    if event.get("model_event"):
        return _model_problem(state, event)
    if task_id is None:
        return "Event must have a 'task' field"
    task = state.tasks.get(task_id)
    if not task or (task["status"] == "published" and not event.get("allow_locked")):
        return f"Invalid task id {task_id}"
    return None


def _model_problem(state: State, event: Doc) -> str | None:
    """Why a model's event is not added (source): models have no console, and one that is ready is locked."""
    if event["type"] == "log":
        return "Task log events are not supported for models"
    model_id = event.get("task")
    if model_id is None:
        return "Event must have a 'task' field"
    model = state.models.get(model_id)
    if not model or (model["ready"] and not event.get("allow_locked")):
        return f"Invalid model id {model_id}"
    return None


def _prepared(event: Doc, worker: str) -> Doc:
    """The event as it is stored: unknown fields stay, `"3"` and 1.7 become whole numbers, "abc" is a 500/0."""
    stored = {key: value for key, value in event.items() if key != "allow_locked"}
    if stored.get("iter") is not None:
        stored["iter"] = int(stored["iter"])
    stored["metric"] = stored.get("metric") or ""
    stored["variant"] = stored.get("variant") or ""
    if not stored.get("timestamp"):
        stored["timestamp"] = now_ms()
    stored.setdefault("model_event", False)
    stored["@timestamp"] = iso_ms(now())[:23] + "Z"
    stored["worker"] = stored.get("worker") or worker
    if stored["type"] == "plot":
        stored["plot_len"] = len(str(stored.get("plot_str", "")))
    return stored


def _check_number(event: Doc) -> None:
    """Texts, lists and objects as a value fail while the metrics are summed up: nothing is stored then."""
    value = event.get("value")
    if event["type"] == SCALAR and value is not None and not isinstance(value, (int, float)):
        raise TypeError(f"unsupported operand type(s) for +: 'int' and '{type(value).__name__}'")


def _index_problem(event: Doc) -> str | None:
    """Why the event index refuses an event. The answer to a refusal is exact; the set of values is not confirmed."""
    value, iteration = event.get("value"), event.get("iter")
    if event["type"] == SCALAR and value is not None and not _fits_float32(value):
        return "failed to parse field [value] of type [float]"
    if iteration is not None and iteration not in _INT64:
        return "None"
    if not _is_time(event["timestamp"]):
        return "failed to parse field [timestamp] of type [date]"
    if not _is_json(event):
        return "failed to parse"
    for name in ("metric", "variant"):
        if len(str(event[name]).encode()) > MAX_NAME_BYTES:
            return f'Document contains at least one immense term in field="{name}"'
    return None


def _fits_float32(value: Any) -> bool:
    return not isinstance(value, bool) and math.isfinite(value) and abs(value) < _FLOAT32_END


def _is_json(event: Doc) -> bool:
    """Return True if all texts are Unicode, as the index requires, and all integers have 64 bits at most."""
    try:
        bson.size(event)
    except (OverflowError, UnicodeEncodeError):
        return False
    except ValueError:  # other limits are BSON's alone
        return True
    return True


def _is_time(value: Any) -> bool:
    if isinstance(value, str):
        try:
            datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            return value.lstrip("-").isdigit()
        return True
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@endpoint("events.delete_for_task", {"task": REQUIRED_STR})
def delete_for_task(state: State, call: Call) -> Doc:
    """Removes events only: last_metrics and last_iteration stay."""
    state.task(call.data["task"])
    return {"deleted": len(state.events.pop(call.data["task"], EventLog()))}
