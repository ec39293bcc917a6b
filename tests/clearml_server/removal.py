"""Reset, delete, archive, move and clone (04, 05, 06, 07b)."""

from __future__ import annotations

import copy
from collections.abc import Callable

from . import documents
from .envelope import ApiError, Doc, bad_request, invalid_id
from .lifecycle import dequeue_task, stop_task, write
from .projects import project_by_path
from .queues import remove_entries
from .registry import Call, endpoint
from .schema import REQUIRED, REQUIRED_STR, STR
from .state import State, new_id, store
from .tasks import TASK, prepared, written

_IDS = {"ids": REQUIRED}
_DATES = (
    *("started", "completed", "published", "active_duration"),
    *("last_worker", "last_worker_report"),
)


@endpoint("tasks.reset", TASK)
def reset(state: State, call: Call) -> Doc:
    return reset_task(state, state.task(call.data["task"]), call.data)


def reset_task(state: State, task: Doc, data: Doc) -> Doc:
    """Back to `created`: events, output artifacts, metrics, runtime and dates go; hyperparameters and tags stay."""
    if task["status"] == "published" and not data.get("force"):
        raise bad_request(110, "Invalid task status", task_id=task["id"], status="published")
    dequeued = {"removed": 1} if remove_entries(state, task["id"]) else {}
    state.events.pop(task["id"], None)
    deleted = _delete_drafts(state, task)
    for key in _DATES:
        task.pop(key, None)
    kept = [item for item in task["execution"]["artifacts"] if item.get("mode") == "input"]
    task["execution"] = {**task["execution"], "artifacts": kept}
    task["execution"].pop("queue", None)
    task["models"] = {**task["models"], "output": []}
    task |= {"last_iteration": 0, "last_metrics": {}, "metric_stats": {}, "runtime": {}}
    fields = write(state, task, "created", {"status_reason": "reset", "status_message": "reset"})
    return {
        "deleted_models": deleted,
        "dequeued": dequeued,
        "events": {},
        "fields": fields,
        "updated": 1,
        "urls": {},
    }


def _delete_drafts(state: State, task: Doc) -> int:
    """Output models that are not ready go with their Task."""
    drafts = [key for key, model in state.models.items() if model.get("task") == task["id"] and not model["ready"]]
    for key in drafts:
        del state.models[key]
    return len(drafts)


@endpoint("tasks.delete", TASK)
def delete(state: State, call: Call) -> Doc:
    return delete_task(state, call.data["task"], call.data)


def delete_task(state: State, task_id: str, data: Doc) -> Doc:
    """Children keep a mark of the parent they had."""
    task = state.task(task_id)
    if task["status"] != "created" and not data.get("force"):
        text = "Task cannot be deleted (due to status, use force=True)"
        raise bad_request(123, text, task=task_id, expected="created", current=task["status"])
    children = [other for other in state.tasks.values() if other.get("parent") == task_id and other is not task]
    for child in children:
        child["parent"] = f"__DELETED__{task_id}"
    deleted = _delete_drafts(state, task)
    orphans = [model for model in state.models.values() if model.get("task") == task_id]
    for model in orphans:
        model["task"] = f"__DELETED__{task_id}"
    remove_entries(state, task_id)
    state.events.pop(task_id, None)
    del state.tasks[task_id]
    return {
        "deleted": True,
        "updated_children": len(children),
        "updated_models": len(orphans),
        "deleted_models": deleted,
        "urls": None,
    }


def archive_task(state: State, task_id: str, data: Doc) -> Doc:
    """Adds the system tag once; a queued Task is taken out of its queue, a running one is stopped."""
    task = state.task(task_id)
    if task["status"] == "queued":
        dequeue_task(state, task, data)
    elif task["status"] == "in_progress":
        stop_task(state, task, data)
    store(task, {"system_tags": sorted({*task["system_tags"], "archived"}), **state.changed()})
    return {"archived": True}


def unarchive_task(state: State, task_id: str) -> Doc:
    task = state.task(task_id)
    kept = [tag for tag in task["system_tags"] if tag != "archived"]
    store(task, {"system_tags": kept, **state.changed()})
    return {"unarchived": True}


@endpoint("tasks.archive", {"tasks": REQUIRED})
def archive(state: State, call: Call) -> Doc:
    for task_id in call.data["tasks"]:
        archive_task(state, task_id, call.data)
    return {"archived": len(call.data["tasks"])}


@endpoint("tasks.unarchive", {"tasks": REQUIRED})
def unarchive(state: State, call: Call) -> Doc:
    for task_id in call.data["tasks"]:
        unarchive_task(state, task_id)
    return {"unarchived": len(call.data["tasks"])}


def _many(call: Call, act: Callable[[str], Doc]) -> Doc:
    succeeded, failed = [], []
    for task_id in call.data["ids"]:
        try:
            succeeded.append({"id": task_id, **act(task_id)})
        except ApiError as error:
            failed.append({"id": task_id, "error": error.as_failure})
    return {"succeeded": succeeded, "failed": failed}


@endpoint("tasks.archive_many", _IDS)
def archive_many(state: State, call: Call) -> Doc:
    return _many(call, lambda task_id: archive_task(state, task_id, call.data))


@endpoint("tasks.unarchive_many", _IDS)
def unarchive_many(state: State, call: Call) -> Doc:
    return _many(call, lambda task_id: unarchive_task(state, task_id))


@endpoint("tasks.delete_many", _IDS)
def delete_many(state: State, call: Call) -> Doc:
    return _many(call, lambda task_id: delete_task(state, task_id, call.data))


@endpoint("tasks.reset_many", _IDS)
def reset_many(state: State, call: Call) -> Doc:
    return _many(call, lambda task_id: reset_task(state, state.task(task_id), call.data))


@endpoint("tasks.move", {**_IDS, "project": STR, "project_name": STR})
def move(state: State, call: Call) -> Doc:
    """Into a project by id, or by name: it is then made where there is none."""
    if call.data.get("project_name"):
        project_id = project_by_path(state, call.data["project_name"])["id"]
    else:
        project_id = documents.reference(state, "project", str(call.data.get("project")))
    for task_id in call.data["ids"]:
        if task_id in state.tasks:
            store(state.tasks[task_id], {"project": project_id, **state.changed()})
    return {"project_id": project_id}


@endpoint("tasks.clone", {"task": REQUIRED_STR, "new_task_name": STR, "new_task_parent": STR})
def clone(state: State, call: Call) -> Doc:
    """A created copy whose parent is the source unless another is given; outputs stay behind."""
    source = state.tasks.get(call.data["task"])
    if not source:
        raise invalid_id("task", id=call.data["task"])
    task = documents.new_task(state)
    for key in ("name", "type", "comment", "project", "tags", "hyperparams", "configuration", "script", "container"):
        if key in source:
            task[key] = copy.deepcopy(source[key])
    execution = copy.deepcopy(source["execution"])
    execution.pop("queue", None)
    execution["artifacts"] = [item for item in execution["artifacts"] if item.get("mode") == "input"]
    task["execution"] = {**execution, **copy.deepcopy(call.data.get("execution_overrides") or {})}
    task["models"]["input"] = copy.deepcopy(source["models"]["input"])
    if "destination" in source["output"]:
        task["output"] = {"destination": source["output"]["destination"]}
    task["system_tags"] = [tag for tag in source["system_tags"] if tag not in ("development", "archived")]
    overrides = {
        key.removeprefix("new_task_"): value for key, value in call.data.items() if key.startswith("new_task_")
    }
    if call.data.get("new_project_name"):
        overrides["project"] = project_by_path(state, call.data["new_project_name"])["id"]
    written(task, prepared(state, {"parent": source["id"], **overrides}))
    task["id"] = new_id()
    state.tasks[task["id"]] = task
    state.touch_project(task.get("project"))
    return {"id": task["id"]}
