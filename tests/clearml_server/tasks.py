"""Tasks: create, read, edit (04, 05)."""

from __future__ import annotations

import copy
from datetime import datetime
from typing import Any

from . import bson, documents
from .documents import TASK_FIELDS
from .envelope import ApiError, Doc, bad_request, data_error
from .query import project_fields, resolve, scroll, select
from .registry import Call, endpoint
from .schema import REQUIRED, REQUIRED_STR, Field
from .state import State, store

_FREE = {"name", "tags", "system_tags", "comment", "project"}  # editing only these does not move last_update
TASK = {"task": REQUIRED_STR}


def prepared(state: State, data: Doc, task: Doc | None = None) -> Doc:
    """The fields of an edit as `fields` of its answer shows them; null, unknown and read-only fields drop out.

    Args:
        state: For references.
        data: The request.
        task: The Task that is edited; None while one is made.
    """
    fields: Doc = {}
    creating = task is None
    for key, value in data.items():
        if value is None:
            continue
        if key in ("project", "parent"):
            if value != "":
                fields[key] = documents.reference(state, key, value)
        elif key in ("tags", "system_tags"):
            if creating and not isinstance(value, list):
                raise data_error(key, "Only lists and tuples may be used in a list field")
            fields[key] = documents.tags(value)
        elif key == "name":
            documents.name(value)
            fields[key] = value
        elif key in ("script", "execution"):
            fields[key] = getattr(documents, key)(value, (task or {}).get(key))
        elif key == "hyperparams":
            fields[key] = documents.hyperparams(value)
        elif key in ("runtime", "container"):
            fields[key] = documents.as_dict(key, value)
        elif key == "output_dest":
            fields["output"] = {"destination": value}
        elif key == "models":
            fields[key] = {"input": [], "output": [], **((task or {}).get(key) or {}), **value}
        elif key in ("type", "comment", "configuration") or (key == "status" and not creating):
            fields[key] = value
    return fields


def written(task: Doc, fields: Doc) -> None:
    """Store edited fields: names stripped; refuse a document over MongoDB's 16 MB (its own text, not recorded)."""
    stored = copy.deepcopy(fields)
    if "name" in stored:
        stored["name"] = stored["name"].strip()
    if "output" in stored:
        stored["output"] = {**task["output"], **stored["output"]}
    if "execution" in stored:
        defaults: Doc = {"mode": "output", "display_data": []}
        artifacts = [{**defaults, **item} for item in stored["execution"]["artifacts"]]
        stored["execution"]["artifacts"] = sorted(artifacts, key=lambda item: (item["key"], item["mode"]))
    size = bson.size({**task, **stored})
    if size > bson.MAX_DOCUMENT_BYTES:
        limit = "the connected server supports BSON document sizes up to 16793598 bytes."
        raise ApiError(500, 0, f"BSON document too large ({size} bytes) - {limit}")
    store(task, stored)


@endpoint("tasks.create", {"name": REQUIRED_STR, "type": Field("str", True, choices=tuple(documents.TASK_TYPES))})
def create(state: State, call: Call) -> Doc:
    task = documents.new_task(state)
    written(task, prepared(state, call.data))
    state.tasks[task["id"]] = task
    state.touch_project(task.get("project"))
    return {"id": task["id"]}


@endpoint("tasks.validate", {"name": REQUIRED_STR, "type": Field("str", True, choices=tuple(documents.TASK_TYPES))})
def validate(state: State, call: Call) -> Doc:
    prepared(state, call.data)
    return {}


@endpoint("tasks.get_by_id", TASK)
def get_by_id(state: State, call: Call) -> Doc:
    return {"task": state.task_for_reading(call.data["task"])}


@endpoint("tasks.get_all")
def get_all(state: State, call: Call) -> Doc:
    for path in call.data.get("only_fields") or []:
        resolve(path, TASK_FIELDS)
    found, scroll_id = scroll(state, select(_visible(state, call.data), call.data, TASK_FIELDS), call.data)
    only = call.data.get("only_fields")
    answer: Doc = {"tasks": [project_fields(task, only, TASK_FIELDS) for task in found]}
    return {**answer, "scroll_id": scroll_id} if scroll_id else answer


@endpoint("tasks.get_all_ex")
def get_all_ex(state: State, call: Call) -> Doc:
    found, scroll_id = scroll(state, select(_visible(state, call.data), call.data, TASK_FIELDS), call.data)
    answer: Doc = {"tasks": [joined(state, task, call.data.get("only_fields")) for task in found]}
    return {**answer, "scroll_id": scroll_id} if scroll_id else answer


@endpoint("tasks.get_by_id_ex", {"id": REQUIRED})
def get_by_id_ex(state: State, call: Call) -> Doc:
    found = select(state.tasks.values(), {"id": call.data["id"]}, TASK_FIELDS)
    return {"tasks": [joined(state, task, call.data.get("only_fields")) for task in found]}


def _visible(state: State, query: Doc) -> list[Doc]:
    """Hidden Tasks need `search_hidden`, unless they are asked for by id or project."""
    tasks = list(state.tasks.values())
    if query.get("search_hidden") or query.get("id") or query.get("project"):
        return tasks
    return [task for task in tasks if "hidden" not in task["system_tags"]]


def joined(state: State, task: Doc, only_fields: list[str] | None) -> Doc:
    """The `_ex` form: references become objects with `id` and the fields asked for, and `id` is always there."""
    references: dict[str, dict[str, Doc]] = {
        "project": state.projects,
        "parent": state.tasks,
        "user": {state.user: {"id": state.user, "name": state.user_name}},
        "company": {state.company: {"id": state.company, "name": state.company_name}},
    }
    paths = only_fields or list(task)
    plain = [path for path in paths if path.partition(".")[0] not in references]
    shown = {"id": task["id"], **project_fields(task, plain, TASK_FIELDS)}
    for path in paths:
        name, _, rest = path.partition(".")
        if name in references and task.get(name):
            target = references[name].get(task[name], {})
            shown.setdefault(name, {"id": task[name]})
            if rest and rest in target:
                shown[name][rest] = target[rest]
    return shown


@endpoint("tasks.edit", TASK)
def edit(state: State, call: Call) -> Doc:
    """Values are replaced, on created Tasks or with force; `status` is written without any rule.

    `script` and `execution` keep the parts that the request does not name (09a #17: the requirements stay).
    """
    task = state.task(call.data["task"])
    check_created(task, call.data)
    return _apply(state, task, prepared(state, call.data, task))


@endpoint("tasks.update", TASK)
def update(state: State, call: Call) -> Doc:
    """The few fields that may change in any status; the answer never moves last_update."""
    task = state.task(call.data["task"])
    return _apply(state, task, prepared(state, {key: call.data[key] for key in _FREE if key in call.data}, task))


def _apply(state: State, task: Doc, fields: Doc) -> Doc:
    if not fields:
        return {"fields": {}, "updated": 0}
    fields |= state.changed(update=not fields.keys() <= _FREE)
    written(task, fields)
    task["last_update"] = task["last_change"]
    state.touch_project(task.get("project"))
    return {"fields": fields, "updated": 1}


@endpoint("tasks.set_requirements", {"task": REQUIRED_STR, "requirements": Field("dict", required=True)})
def set_requirements(state: State, call: Call) -> Doc:
    """Allowed in every status; answers no fields."""
    task = state.task(call.data["task"])
    task["script"]["requirements"] = copy.deepcopy(call.data["requirements"])
    store(task, state.changed())
    return {"fields": {}, "updated": 1}


@endpoint("tasks.update_tags", {"ids": REQUIRED})
def update_tags(state: State, call: Call) -> Doc:
    """`updated` counts writes: one for the Tasks that get tags, one for those that lose some."""
    count = 0
    found = [state.tasks[task_id] for task_id in call.data["ids"] if task_id in state.tasks]
    added, removed = call.data.get("add_tags") or [], call.data.get("remove_tags") or []
    for task in found:
        present = [tag for tag in task["tags"] if tag not in removed]
        task["tags"] = sorted([*present, *(tag for tag in added if tag not in present)])
        store(task, state.changed())
        count += bool(added) + bool(removed)
    return {"updated": count}


@endpoint("tasks.ping", TASK)
def ping(state: State, call: Call) -> Doc:
    """Keeps a Task alive; an unknown id is no error."""
    task = state.tasks.get(call.data["task"])
    if task:
        store(task, state.changed())
        stamp_duration(task)
    return {}


def stamp_duration(task: Doc) -> None:
    """`active_duration` appears with the first sign of life of a running Task, not with its start."""
    if task["status"] == "in_progress" and "started" in task:
        begun = datetime.fromisoformat(task["started"])
        task["active_duration"] = int((datetime.fromisoformat(task["last_update"]) - begun).total_seconds())


@endpoint("tasks.get_types")
def get_types(state: State, call: Call) -> Doc:
    wanted = call.data.get("projects")
    return {
        "types": sorted({task["type"] for task in state.tasks.values() if not wanted or task.get("project") in wanted})
    }


def check_created(task: Doc, data: Doc, forced: tuple[str, ...] = ()) -> None:
    """Refuse changes of a Task that is not `created` (400/110).

    Args:
        task: The Task.
        data: The request, for its `force`.
        forced: The statuses in which `force` helps; all where empty.
    """
    status = task["status"]
    if status == "created" or (data.get("force") and (not forced or status in forced)):
        return
    raise bad_request(110, "Invalid task status", expected="created", status=status)


def reasons(data: Doc) -> dict[str, Any]:
    """Every status call overwrites both texts; a missing one becomes empty."""
    return {
        "status_reason": data.get("status_reason") or "",
        "status_message": data.get("status_message") or "",
    }
