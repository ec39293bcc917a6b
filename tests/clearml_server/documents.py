"""The Task document: defaults, known fields, and how values of a request are normalised (05, README)."""

from __future__ import annotations

import copy
from typing import Any

from . import bson
from .envelope import ApiError, Doc, bad_request, data_error
from .query import Fields, plain
from .state import State, iso_ms, new_id, now

MIN_NAME = 3
TASK_TYPES = (
    *("training", "testing", "inference", "data_processing", "application", "monitor"),
    *("controller", "optimizer", "service", "qc", "custom"),
)
_SCRIPT = {
    *("binary", "repository", "tag", "branch", "version_num", "entry_point", "working_dir"),
    *("requirements", "diff"),
}
_EXECUTION = {
    *("queue", "test_split", "parameters", "model", "model_desc", "model_labels", "framework", "docker_cmd"),
    "artifacts",
}
TASK_FIELDS: Fields = {
    **plain(
        "id company company_origin user name type status status_reason status_message status_changed comment report "
        "created started completed published active_duration parent project last_worker last_worker_report "
        "last_update last_change last_changed_by last_iteration tags system_tags unique_metrics report_assets "
        "enqueue_status"
    ),
    **dict.fromkeys(("last_metrics", "metric_stats", "hyperparams", "configuration", "runtime", "models"), "*"),
    "container": "*",
    "script": _SCRIPT,
    "execution": _EXECUTION,
    "output": {"destination", "model", "error", "result"},
}


def new_task(state: State) -> Doc:
    """A Task with the server's defaults; fields that are not set are absent, not null."""
    stamp = iso_ms(now())
    return {
        "id": new_id(),
        "company": state.company,
        "user": state.user,
        "status": "created",
        "report_assets": [],
        "created": stamp,
        "output": {},
        "execution": execution({}),
        "tags": [],
        "system_tags": [],
        "script": script({}),
        "last_update": stamp,
        "last_change": stamp,
        "last_iteration": 0,
        "last_metrics": {},
        "unique_metrics": [],
        "metric_stats": {},
        "hyperparams": {},
        "configuration": {},
        "runtime": {},
        "models": {"input": [], "output": []},
        "container": {},
        "last_changed_by": state.user,
    }


def replace(task: Doc, **fields: Any) -> None:
    """Put whole fields into a Task; 500/0 where it would be over MongoDB's 16 MB."""
    if bson.size({**task, **fields}) > bson.MAX_DOCUMENT_BYTES:
        text = f"Resulting document after update is larger than {bson.MAX_DOCUMENT_BYTES}"
        raise ApiError(500, 0, f"Update failed ({text})")
    task.update(fields)


def name(value: str, minimum: int = MIN_NAME) -> str:
    """Strip a name; 400/800 where fewer than three characters are left."""
    stripped = value.strip()
    if len(stripped) < minimum:
        raise data_error("name", "String value is too short")
    return stripped


def tags(value: Any) -> list[str]:
    """Tags are sorted; duplicates and empty strings stay; a string falls apart into characters (edit only)."""
    items = list(value)
    for item in items:
        if not isinstance(item, str):
            raise TypeError(f"'{type(item).__name__}' object has no attribute 'startswith'")
    return sorted(items)


def script(value: Doc, present: Doc | None = None) -> Doc:
    """A script object over the present one or the defaults; unknown parts are refused, not ignored."""
    _known("Script", value, _SCRIPT)
    for key, part in value.items():
        if key != "requirements" and part is not None and not isinstance(part, str):
            raise data_error(key, "StringField only accepts string values")
    given = {key: part for key, part in value.items() if part is not None}
    defaults = {"binary": "python", "repository": "", "entry_point": "", "requirements": {}}
    return copy.deepcopy({**(present or defaults), **given})


def execution(value: Doc, present: Doc | None = None) -> Doc:
    """An execution object over the present one or the defaults."""
    _known("Execution", value, _EXECUTION)
    given = {key: part for key, part in value.items() if part is not None}
    defaults = {"test_split": 0, "parameters": {}, "model_desc": {}, "model_labels": {}, "artifacts": []}
    return copy.deepcopy({**(present or defaults), **given})


def as_dict(field: str, value: Any) -> Doc:
    """Return dict(value); the error of a refusal has Python's text."""
    try:
        return dict(value)
    except ValueError as error:
        raise bad_request(16, f"Invalid value for fields ({error})", field=field) from None


def hyperparams(value: Any) -> Any:
    """tasks.edit stores hyperparameters as they come, values of any type; a bare string for one is a server error."""
    if isinstance(value, dict):
        for section in value.values():
            for item in section.values() if isinstance(section, dict) else [section]:
                if not isinstance(item, dict):
                    found = f"a '{type(item)}' was found"
                    raise TypeError(f"The source SON object needs to be of type 'dict' but {found}")
    return value


def reference(state: State, field: str, value: str) -> str:
    """The id of a project or parent, which must exist (a Task may be its own parent)."""
    known = state.projects if field == "project" else state.tasks
    if value not in known:
        kind = "Project" if field == "project" else "Task"
        raise bad_request(16, f"Invalid value for fields (expecting {kind} id)", id=value, field=field)
    return value


def _known(document: str, value: Doc, fields: set[str]) -> None:
    for key in value:
        if key not in fields:
            details = {"document": document, "field": key}
            refusal = bad_request(101, "Inconsistent data encountered in document", **details)
            refusal.code = 500
            raise refusal
