"""The status machine (README, "Task status machine"; 05b_status_matrix has every case)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from .envelope import ApiError, Doc, bad_request
from .registry import Call, endpoint
from .schema import REQUIRED, STR
from .state import State, iso, now, store
from .tasks import TASK, reasons

WORKER_TIMEOUT_S = 600
_NOT_FORCED = {
    "in_progress": {"created", "queued", "in_progress", "stopped", "completed"},
    "stopped": {"queued", "in_progress", "stopped", "failed", "closed"},
    "failed": {"in_progress", "stopped", "failed", "closed"},
    "completed": {"in_progress", "stopped", "completed"},
    "closed": {"stopped", "closed"},
    "published": {"stopped", "failed", "completed", "closed"},
    "queued": {"created", "queued", "stopped", "failed"},
}


def change(state: State, task: Doc, new: str, data: Doc, extra: Doc | None = None) -> Doc:
    """Move a Task to a status, or raise 400/110; gives `fields` of the answer."""
    current = task["status"]
    if not data.get("force") and current not in _NOT_FORCED[new]:
        text = "Invalid task status (Invalid status change)"
        raise bad_request(110, text, current_status=current, new_status=new)
    return write(state, task, new, data, extra)


def write(state: State, task: Doc, new: str, data: Doc, extra: Doc | None = None) -> Doc:
    """Write a status without asking whether it may follow the present one."""
    stamp = state.changed()
    fields = {
        "status": new,
        **reasons(data),
        "status_changed": stamp["last_update"],
        **stamp,
        **(extra or {}),
    }
    store(task, {key: value for key, value in fields.items() if key != "enqueue_status"})
    state.touch_project(task.get("project"))
    return fields


@endpoint("tasks.started")
def started(state: State, call: Call) -> Doc:
    """Renews `started` and drops `completed`, except for a Task that is running already."""
    task = state.tasks.get(str(call.data.get("task")))
    if not task:
        raise bad_request(10, "Invalid object id", task=None)
    running = task["status"] == "in_progress"
    fields = change(state, task, "in_progress", call.data, {} if running else {"started": iso(now())})
    if not running:
        task.pop("completed", None)
        task.pop("active_duration", None)
    return {"fields": fields, "started": 1, "updated": 1}


@endpoint("tasks.stopped", TASK)
def stopped(state: State, call: Call) -> Doc:
    return _ended(state, call, "stopped")


@endpoint("tasks.failed", TASK)
def failed(state: State, call: Call) -> Doc:
    return _ended(state, call, "failed")


@endpoint("tasks.completed", TASK, version="2.2")
def completed(state: State, call: Call) -> Doc:
    answer = _ended(state, call, "completed")
    if call.data.get("publish"):
        publish_task(state, state.task(call.data["task"]), call.data)
    return {**answer, "published": int(bool(call.data.get("publish")))}


def _ended(state: State, call: Call, new: str) -> Doc:
    task = state.task(call.data["task"])
    return {"fields": change(state, task, new, call.data, {"completed": iso(now())}), "updated": 1}


@endpoint("tasks.stop", TASK)
def stop(state: State, call: Call) -> Doc:
    """Stop at once, unless a worker reports the Task: it is only asked to stop (03d), even with force."""
    return {"fields": stop_task(state, state.task(call.data["task"]), call.data), "updated": 1}


def stop_task(state: State, task: Doc, data: Doc) -> Doc:
    reason = data.get("status_reason")
    if task["status"] == "in_progress" and _has_worker(task):
        return write(state, task, "in_progress", {"status_reason": reason, "status_message": "stopping"})
    message = f"Stopped by {state.user_name}"  # a message in the request is ignored
    return change(state, task, "stopped", {**data, "status_message": message})


def _has_worker(task: Doc) -> bool:
    report = task.get("last_worker_report")
    return bool(report) and (now() - datetime.fromisoformat(str(report))).total_seconds() < WORKER_TIMEOUT_S


@endpoint("tasks.close", TASK)
def close(state: State, call: Call) -> Doc:
    return {"fields": change(state, state.task(call.data["task"]), "closed", call.data), "updated": 1}


@endpoint("tasks.publish", TASK)
def publish(state: State, call: Call) -> Doc:
    return {"fields": publish_task(state, state.task(call.data["task"]), call.data), "updated": 1}


def publish_task(state: State, task: Doc, data: Doc) -> Doc:
    """Publishing a Task makes its output models ready (04b)."""
    fields = change(state, task, "published", data, {"published": iso(now()), "output": task["output"]})
    for entry in task["models"]["output"]:
        model = state.models.get(entry["model"])
        if model and not model["ready"]:
            store(model, {"ready": True, **state.changed()})
    return fields


@endpoint("tasks.enqueue", {**TASK, "queue": STR, "queue_name": STR})
def enqueue(state: State, call: Call) -> Doc:
    """Without a queue into `default`; an unknown `queue_name` makes a queue."""
    return {"fields": enqueue_task(state, call.data["task"], call.data), "queued": 1, "updated": 1}


def enqueue_task(state: State, task_id: str, data: Doc) -> Doc:
    from .queues import add_entry, queue_for

    task = state.task(task_id)
    queue = queue_for(state, data)
    current = task["status"]
    if not data.get("force") and current not in _NOT_FORCED["queued"]:
        change(state, task, "queued", data)  # raises
    add_entry(state, queue, task_id)
    previous = state.enqueued_from.get(task_id, "created") if current == "queued" else current
    state.enqueued_from[task_id] = previous
    extra = {"enqueue_status": previous, "execution.queue": queue["id"]}
    return write(state, task, "queued", data, extra)


@endpoint("tasks.dequeue", TASK)
def dequeue(state: State, call: Call) -> Doc:
    """Back to `created`, or to `new_status` (the agent's call); no error where nothing was queued."""
    task = state.task(call.data["task"])
    return {"dequeued": 1, **dequeue_task(state, task, call.data)}


def dequeue_task(state: State, task: Doc, data: Doc) -> Doc:
    from .queues import remove_entries

    remove_entries(state, task["id"])
    if task["status"] not in ("queued", "in_progress"):
        return {"fields": {}, "updated": 0}
    status = data.get("new_status") or state.enqueued_from.pop(task["id"], "created")
    return {"fields": write(state, task, status, data, {"enqueue_status": None}), "updated": 1}


def _for_each(state: State, call: Call, act: str) -> Doc:
    """A `*_many` call: 200 whatever happens, each refusal beside the id it concerns."""
    succeeded, failures = [], []
    for task_id in call.data["ids"]:
        try:
            succeeded.append({"id": task_id, **_MANY[act](state, task_id, call.data)})
        except ApiError as error:
            failures.append({"id": task_id, "error": error.as_failure})
    return {"succeeded": succeeded, "failed": failures}


_MANY: dict[str, Callable[[State, str, Doc], Doc]] = {
    "publish": lambda state, task_id, data: {
        "fields": publish_task(state, state.task(task_id), data),
        "updated": 1,
    },
    "enqueue": lambda state, task_id, data: {
        "fields": enqueue_task(state, task_id, data),
        "queued": True,
        "updated": 1,
    },
    "stop": lambda state, task_id, data: {"fields": stop_task(state, state.task(task_id), data), "updated": 1},
    "dequeue": lambda state, task_id, data: {"dequeued": True, **dequeue_task(state, state.task(task_id), data)},
}
_IDS = {"ids": REQUIRED}


@endpoint("tasks.publish_many", _IDS)
def publish_many(state: State, call: Call) -> Doc:
    return _for_each(state, call, "publish")


@endpoint("tasks.enqueue_many", _IDS)
def enqueue_many(state: State, call: Call) -> Doc:
    return _for_each(state, call, "enqueue")


@endpoint("tasks.stop_many", _IDS)
def stop_many(state: State, call: Call) -> Doc:
    return _for_each(state, call, "stop")


@endpoint("tasks.dequeue_many", _IDS)
def dequeue_many(state: State, call: Call) -> Doc:
    return _for_each(state, call, "dequeue")
