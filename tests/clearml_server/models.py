"""Models (04, 05): never deduplicated, editable also when ready."""

from __future__ import annotations

import copy

from . import documents
from .envelope import ApiError, Doc, bad_request, invalid_id, validation_error
from .lifecycle import publish_task
from .projects import project_by_path
from .query import Fields, plain, project_fields, select
from .registry import Call, endpoint
from .schema import DICT, REQUIRED, REQUIRED_STR, STR, Field
from .state import State, iso_ms, new_id, now, store

_MODEL = {"model": REQUIRED_STR}
_FREE = {"name", "tags", "system_tags", "comment", "project"}
_METADATA = {"key": REQUIRED_STR, "type": REQUIRED_STR, "value": REQUIRED_STR}
_FIELDS: Fields = {
    **plain(
        "id company user name project created task parent comment tags system_tags uri framework ready last_update "
        "last_change last_changed_by last_iteration"
    ),
    **dict.fromkeys(["design", "labels", "metadata", "last_metrics", "ui_cache", "stats"], "*"),
}


def _model(state: State, model_id: str) -> Doc:
    if model_id not in state.models:
        raise invalid_id("model", company=state.company, id=model_id)
    return state.models[model_id]


def _prepared(state: State, data: Doc, keys: tuple[str, ...]) -> Doc:
    fields: Doc = {}
    for key in keys:
        value = data.get(key)
        if value is None:
            continue
        if key == "labels":
            wrong = [label for label in value.values() if not isinstance(label, int)]
            if wrong:
                raise validation_error(f"labels values must be integers): values=({', '.join(map(str, wrong))}")
        elif key == "design":
            value = documents.as_dict(key, value)
        elif key == "name":
            documents.name(value)
        elif key in ("tags", "system_tags"):
            value = documents.tags(value)
        elif key in ("project", "task") and value:
            documents.reference(state, key, value)
        fields[key] = copy.deepcopy(value)
        if key == "uri":
            fields["ui_cache"] = {}  # the web pages' cache is emptied with every uri
    return fields


def _written(state: State, model: Doc, fields: Doc, *, update: bool) -> Doc:
    if not fields:
        return {"fields": {}, "updated": 0}
    fields |= state.changed(update=update)
    stored = {key: value for key, value in fields.items() if key != "ui_cache"}
    if "name" in stored:
        stored["name"] = stored["name"].strip()
    store(model, stored)
    model["last_update"] = model["last_change"]
    return {"fields": fields, "updated": 1}


_EDITABLE = (
    *("name", "tags", "system_tags", "task", "comment", "uri", "project", "framework", "design", "labels"),
    *("ready", "parent", "metadata"),
)


@endpoint("models.create", {"name": REQUIRED_STR, "uri": REQUIRED_STR})
def create(state: State, call: Call) -> Doc:
    """A new model each time. 05 #216 shows `ready: true` for a model created without `ready`."""
    stamp = iso_ms(now())
    model: Doc = {
        "id": new_id(),
        "company": state.company,
        "user": state.user,
        "created": stamp,
        "tags": [],
        "system_tags": [],
        "design": {},
        "labels": {},
        "ready": True,
        "last_update": stamp,
        "last_change": stamp,
        "last_changed_by": state.user,
        "metadata": {},
        "last_iteration": 0,
        "last_metrics": {},
    }
    _written(state, model, _prepared(state, call.data, _EDITABLE), update=True)
    state.models[model["id"]] = model
    return {"created": True, "id": model["id"]}


@endpoint("models.get_by_id", _MODEL)
def get_by_id(state: State, call: Call) -> Doc:
    model = state.models.get(call.data["model"])
    if not model:
        text = "Invalid model id (no such public or company model)"
        raise bad_request(201, text, id=call.data["model"], company=state.company)
    return {"model": model}


@endpoint("models.get_all")
def get_all(state: State, call: Call) -> Doc:
    found = select(state.models.values(), call.data, _FIELDS)
    return {"models": [project_fields(model, call.data.get("only_fields"), _FIELDS) for model in found]}


@endpoint("models.get_all_ex")
def get_all_ex(state: State, call: Call) -> Doc:
    found = select(state.models.values(), call.data, _FIELDS)
    only = call.data.get("only_fields")
    return {"models": [{"id": model["id"], **project_fields(model, only, _FIELDS)} for model in found]}


@endpoint("models.edit", _MODEL)
def edit(state: State, call: Call) -> Doc:
    fields = _prepared(state, call.data, _EDITABLE)
    return _written(state, _model(state, call.data["model"]), fields, update=not fields.keys() <= _FREE)


@endpoint("models.update", _MODEL)
def update(state: State, call: Call) -> Doc:
    model = _model(state, call.data["model"])
    return _written(state, model, _prepared(state, call.data, ("name", "tags", "comment", "uri")), update=False)


@endpoint("models.move", {"ids": REQUIRED, "project": STR, "project_name": STR}, version="2.13")
def move(state: State, call: Call) -> Doc:
    """Into a project by id, or by name, as `tasks.move` (clearml-server's source; not recorded)."""
    if call.data.get("project_name"):
        project_id = project_by_path(state, call.data["project_name"])["id"]
    else:
        project_id = documents.reference(state, "project", str(call.data.get("project")))
    for model_id in call.data["ids"]:
        if model_id in state.models:
            store(state.models[model_id], {"project": project_id, **state.changed()})
    return {"project_id": project_id}


@endpoint("models.set_ready", _MODEL)
def set_ready(state: State, call: Call) -> Doc:
    """Publish a model, which is possible once, and its Task, unless the request excludes that."""
    model = _model(state, call.data["model"])
    if model["ready"]:
        raise bad_request(203, "Model is ready", company=state.company, model=model["id"])
    store(model, {"ready": True, **state.changed()})
    task = state.tasks.get(str(model.get("task")))
    answer: Doc = {"fields": {}, "updated": 1}
    if task and call.data.get("publish_task", True) and task["status"] != "published":
        fields = publish_task(state, task, {"force": call.data.get("force_publish_task")})
        answer["published_task"] = {"id": task["id"], "data": {"fields": fields, "updated": 1}}
    return answer


def _leave_tasks(state: State, model: Doc, users: list[Doc], data: Doc) -> None:
    """Tasks that read the model name it `__DELETED__…`; the Task that made it loses it (source: `delete_model`)."""
    maker = state.tasks.get(str(model.get("task")))
    if maker and maker["status"] == "published" and not data.get("force"):
        text = "Task that created this model exists (and published, use force=True to delete)"
        raise bad_request(206, text, task=maker["id"])
    for task in users:
        for entry in task["models"]["input"]:
            if entry["model"] == model["id"]:
                entry["model"] = f"__DELETED__{model['id']}"
    if maker:
        kept = [entry for entry in maker["models"]["output"] if entry["model"] != model["id"]]
        maker["models"] = {**maker["models"], "output": kept}


@endpoint("models.delete", _MODEL)
def delete(state: State, call: Call) -> Doc:
    model = _model(state, call.data["model"])
    users = [
        task for task in state.tasks.values() if any(entry["model"] == model["id"] for entry in task["models"]["input"])
    ]
    if users and not call.data.get("force"):
        text = "Model is used by tasks (as execution model, use force=True to delete)"
        raise bad_request(205, text, num_tasks=len(users))
    _leave_tasks(state, model, users, call.data)
    del state.models[model["id"]]
    return {"deleted": True, "url": model.get("uri")}


@endpoint(
    "models.add_or_update_metadata",
    {**_MODEL, "metadata": Field("list", required=True, minimum_items=1, items=_METADATA)},
    version="2.13",
)
def add_or_update_metadata(state: State, call: Call) -> Doc:
    model = _model(state, call.data["model"])
    given = {item["key"]: {key: item[key] for key in _METADATA} for item in call.data["metadata"]}
    model["metadata"] = given if call.data.get("replace_metadata") else {**model["metadata"], **given}
    store(model, state.changed())
    return {"updated": 1}


@endpoint("models.delete_metadata", {**_MODEL, "keys": REQUIRED}, version="2.13")
def delete_metadata(state: State, call: Call) -> Doc:
    model = _model(state, call.data["model"])
    model["metadata"] = {key: item for key, item in model["metadata"].items() if key not in call.data["keys"]}
    store(model, state.changed())
    return {"updated": 1}


@endpoint("models.update_for_task", {"task": STR, "labels": DICT})
def update_for_task(state: State, call: Call) -> Doc:
    """Gone since 2.13; what it did before was not recorded."""
    text = "This endpoint is no longer supported for the requested api version (use tasks.add_or_update_model)"
    raise ApiError(301, 1, text)
