"""Projects: a path of names, each at least three characters long (05, 07a)."""

from __future__ import annotations

from . import documents
from .envelope import Doc, bad_request, invalid_id, validation_error
from .query import Fields, plain, project_fields, select
from .registry import Call, endpoint
from .schema import REQUIRED_STR, STR
from .state import State, iso_ms, new_id, now, store

MAX_DEPTH = 10
_PROJECT = {"project": REQUIRED_STR}
_STATUSES = (
    *("closed", "completed", "created", "failed", "in_progress"),
    *("published", "publishing", "queued", "stopped", "unknown"),
)
_FIELDS: Fields = plain(
    "id company user name basename description created tags system_tags default_output_destination last_update "
    "featured parent path logo"
)


def _segments(name: str) -> list[str]:
    """Split a path; blanks and empty segments drop out."""
    segments = [part.strip() for part in name.split("/") if part.strip()]
    if not segments:
        raise bad_request(407, "Invalid project name", name=name)
    if any(len(part) < documents.MIN_NAME for part in segments):
        raise validation_error("Project name cannot be blank")
    if len(segments) > MAX_DEPTH:
        raise bad_request(409, "Project path exceed the maximum allowed depth", max_depth=MAX_DEPTH)
    return segments


def _by_name(state: State, name: str) -> Doc | None:
    return next((project for project in state.projects.values() if project["name"] == name), None)


def project_by_path(state: State, name: str) -> Doc:
    """The project of that path, made with its parents where there is none."""
    segments = _segments(name)
    path = "/".join(segments)
    found = _by_name(state, path)
    if found:
        return found
    parent = project_by_path(state, "/".join(segments[:-1])) if len(segments) > 1 else None
    stamp = iso_ms(now())
    project: Doc = {
        "id": new_id(),
        "company": state.company,
        "user": state.user,
        "name": path,
        "basename": segments[-1],
        "description": "",
        "created": stamp,
        "tags": [],
        "system_tags": [],
        "last_update": stamp,
        "featured": 9999,
    }
    if parent:
        project["parent"] = parent["id"]
    state.projects[project["id"]] = project
    return project


def _project(state: State, project_id: str) -> Doc:
    if project_id not in state.projects:
        raise invalid_id("project", id=project_id)
    return state.projects[project_id]


def _path(state: State, project: Doc) -> list[str]:
    """Ids of the parents, outermost first."""
    path: list[str] = []
    while "parent" in project:
        path.insert(0, project["parent"])
        project = state.projects[project["parent"]]
    return path


def _below(state: State, project: Doc) -> list[Doc]:
    return [other for other in state.projects.values() if other["name"].startswith(project["name"] + "/")]


@endpoint("projects.create", {"name": REQUIRED_STR, "description": STR})
def create(state: State, call: Call) -> Doc:
    path = "/".join(_segments(call.data["name"]))
    if _by_name(state, path):
        text = "Project with the same name already exists"
        raise bad_request(801, text, name=path, company=state.company)
    project = project_by_path(state, path)
    project["description"] = call.data.get("description") or ""
    for key in ("tags", "system_tags"):
        project[key] = sorted(call.data.get(key) or [])
    if call.data.get("default_output_destination"):
        project["default_output_destination"] = call.data["default_output_destination"]
    return {"id": project["id"]}


@endpoint("projects.get_by_id", _PROJECT)
def get_by_id(state: State, call: Call) -> Doc:
    project = _project(state, call.data["project"])
    return {"project": {**project, "path": _path(state, project)}}


def _found(state: State, call: Call) -> list[Doc]:
    """Projects with the system tag `hidden` need `search_hidden`, unless they are asked for by id."""
    projects = list(state.projects.values())
    if not call.data.get("search_hidden") and not call.data.get("id"):
        projects = [project for project in projects if "hidden" not in project["system_tags"]]
    if call.data.get("shallow_search"):
        projects = [project for project in projects if "parent" not in project]
    return select(projects, call.data, _FIELDS)


@endpoint("projects.get_all")
def get_all(state: State, call: Call) -> Doc:
    only = call.data.get("only_fields")
    return {"projects": [project_fields(project, only, _FIELDS) for project in _found(state, call)]}


@endpoint("projects.get_all_ex")
def get_all_ex(state: State, call: Call) -> Doc:
    return {"projects": [_extended(state, project, call.data) for project in _found(state, call)]}


def _extended(state: State, project: Doc, query: Doc) -> Doc:
    shown: Doc = {**project, "company": {"id": project["company"]}, "user": {"id": project["user"]}}
    if "parent" in project:
        shown["parent"] = {"id": project["parent"]}
    if query.get("check_own_contents"):
        for kind, documents_ in (("own_tasks", state.tasks), ("own_models", state.models)):
            shown[kind] = sum(item.get("project") == project["id"] for item in documents_.values())
    if query.get("include_stats"):
        counts = dict.fromkeys(_STATUSES, 0)
        inside = {project["id"], *(other["id"] for other in _below(state, project))}
        for task in state.tasks.values():
            if task.get("project") in inside and "archived" not in task["system_tags"]:
                counts[task["status"]] += 1
        stats = {"total_tasks": sum(counts.values()), "total_runtime": 0, "completed_tasks_24h": counts["completed"]}
        shown["stats"] = {"active": {"status_count": counts, **stats, "last_task_run": None}}
        below = sorted(_below(state, project), key=lambda other: str(other["name"]))
        shown["sub_projects"] = [{"id": other["id"], "name": other["name"]} for other in below]
    return shown


@endpoint("projects.update", _PROJECT)
def update(state: State, call: Call) -> Doc:
    project = _project(state, call.data["project"])
    fields: Doc = {}
    for key in ("name", "description", "tags", "system_tags", "default_output_destination"):
        if call.data.get(key) is not None:
            fields[key] = sorted(call.data[key]) if key.endswith("tags") else call.data[key]
    if "name" in fields:
        segments = _segments(fields["name"])
        if segments[:-1] != project["name"].split("/")[:-1]:
            text = "Cannot update project location. use projects.move instead"
            raise bad_request(408, text, name=fields["name"])
        _rename(state, project, "/".join(segments))
    store(project, {**fields, "last_update": state.changed()["last_update"]})
    return {"fields": fields, "updated": 1}


def _rename(state: State, project: Doc, name: str) -> None:
    for other in _below(state, project):
        other["name"] = name + other["name"][len(project["name"]) :]
    project["name"] = name
    project["basename"] = name.rpartition("/")[2]


@endpoint("projects.move", _PROJECT)
def move(state: State, call: Call) -> Doc:
    project = _project(state, call.data["project"])
    location = call.data.get("new_location")
    project.pop("parent", None)
    if location:
        parent = project_by_path(state, location)
        project["parent"] = parent["id"]
        _rename(state, project, f"{parent['name']}/{project['basename']}")
    else:
        _rename(state, project, project["basename"])
    project["last_update"] = iso_ms(now())
    return {"moved": 1}


@endpoint("projects.delete", _PROJECT)
def delete(state: State, call: Call) -> Doc:
    """Archived Tasks do not stand in the way; all Tasks lose their project."""
    project = _project(state, call.data["project"])
    gone = {project["id"], *(other["id"] for other in _below(state, project))}
    inside = [task for task in state.tasks.values() if task.get("project") in gone]
    if not call.data.get("force") and any("archived" not in task["system_tags"] for task in inside):
        raise bad_request(402, "Project has associated tasks (use force=true)", id=project["id"])
    for task in inside:
        del task["project"]
    for model in state.models.values():
        if model.get("project") in gone:
            del model["project"]
    for project_id in gone:
        del state.projects[project_id]
    return {
        "deleted": len(gone),
        "disassociated_tasks": len(inside),
        "deleted_models": 0,
        "deleted_tasks": 0,
        "urls": None,
    }


@endpoint("projects.get_unique_metric_variants")
def get_unique_metric_variants(state: State, call: Call) -> Doc:
    found = {}
    for task in state.tasks.values():
        if task.get("project") == call.data.get("project"):
            for metric_hash, variants in task["last_metrics"].items():
                for variant_hash, value in variants.items():
                    key = {"metric": value["metric"], "metric_hash": metric_hash}
                    found[metric_hash, variant_hash] = {
                        **key,
                        "variant": value["variant"],
                        "variant_hash": variant_hash,
                    }
    return {"metrics": sorted(found.values(), key=lambda item: (item["metric"], item["variant"]))}


@endpoint("projects.get_task_tags", version="2.8")
def get_task_tags(state: State, call: Call) -> Doc:
    wanted = call.data.get("projects")
    tasks = [task for task in state.tasks.values() if not wanted or task.get("project") in wanted]
    return {"tags": sorted({tag for task in tasks for tag in task["tags"]})}
