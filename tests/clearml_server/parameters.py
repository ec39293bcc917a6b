"""The parts of a Task with calls of their own: hyperparameters, configuration, runtime, artifacts, models (05)."""

from __future__ import annotations

import copy

from .documents import replace as replace_in
from .envelope import Doc, bad_request
from .registry import Call, endpoint
from .schema import DICT, INT, REQUIRED, REQUIRED_STR, STR, Field
from .state import State, iso_ms, now, store
from .tasks import TASK, check_created

_UNFINISHED = ("created", "queued", "in_progress")
_PARAMETER = {
    "section": REQUIRED_STR,
    "name": REQUIRED_STR,
    "value": STR,
    "type": STR,
    "description": STR,
}
_PARAMETERS = Field("list", required=True, minimum_items=1, items=_PARAMETER)
_PARAMETER_KEYS = Field("list", required=True, minimum_items=1, items={"section": REQUIRED_STR, "name": STR})
_CONFIGURATION = {"name": REQUIRED_STR, "value": STR, "type": STR, "description": STR}
_MODE = Field(choices=("input", "output"))
_ARTIFACT = {
    "key": REQUIRED_STR,
    "type": REQUIRED_STR,
    "mode": _MODE,
    "uri": STR,
    "hash": STR,
    "content_size": INT,
    "timestamp": INT,
    "type_data": Field(model="artifacttypedata"),
    "display_data": Field("list"),
}
_ARTIFACTS = Field("list", required=True, minimum_items=1, items=_ARTIFACT)


def _check_unfinished(task: Doc) -> None:
    """Runtime, artifacts and models of a finished Task cannot be changed; force makes no difference."""
    if task["status"] not in _UNFINISHED:
        raise bad_request(110, "Invalid task status", expected="created", status=task["status"])


def _check_parameters(task: Doc, data: Doc) -> None:
    """User properties (section `properties`) may change in every status; other sections only before the end."""
    if any(item["section"] != "properties" for item in data["hyperparams"]):
        check_created(task, data, _UNFINISHED)


def _touched(state: State, task: Doc) -> None:
    store(task, state.changed())
    state.touch_project(task.get("project"))


@endpoint(
    "tasks.edit_hyper_params",
    {**TASK, "hyperparams": _PARAMETERS, "replace_hyperparams": Field(choices=("none", "section", "all"))},
)
def edit_hyper_params(state: State, call: Call) -> Doc:
    """Merges, or replaces the sections named or all of them."""
    task = state.task(call.data["task"])
    _check_parameters(task, call.data)
    items = call.data["hyperparams"]
    stored = copy.deepcopy(task["hyperparams"]) or {}
    replace = call.data.get("replace_hyperparams") or "none"
    if replace == "all":
        stored = {}
    elif replace == "section":
        stored = {key: value for key, value in stored.items() if key not in {item["section"] for item in items}}
    for item in items:
        stored.setdefault(item["section"], {})[item["name"]] = _only(item, _PARAMETER)
    replace_in(task, hyperparams=stored)
    _touched(state, task)
    return {"updated": 1}


@endpoint("tasks.delete_hyper_params", {**TASK, "hyperparams": _PARAMETER_KEYS})
def delete_hyper_params(state: State, call: Call) -> Doc:
    """One parameter, or a section where no name is given."""
    task = state.task(call.data["task"])
    _check_parameters(task, call.data)
    for item in call.data["hyperparams"]:
        if item.get("name"):
            task["hyperparams"].get(item["section"], {}).pop(item["name"], None)
        else:
            task["hyperparams"].pop(item["section"], None)
    _touched(state, task)
    return {"deleted": 1}


@endpoint("tasks.get_hyper_params", {"tasks": REQUIRED})
def get_hyper_params(state: State, call: Call) -> Doc:
    """A flat list for each Task, sorted by section and name."""
    params = []
    for task_id in call.data["tasks"]:
        sections = state.task_for_reading(task_id)["hyperparams"]
        items = [section[name] for _, section in sorted(sections.items()) for name in sorted(section)]
        params.append({"task": task_id, "hyperparams": items})
    return {"params": params}


@endpoint(
    "tasks.edit_configuration",
    {**TASK, "configuration": Field("list", required=True, minimum_items=1, items=_CONFIGURATION)},
)
def edit_configuration(state: State, call: Call) -> Doc:
    task = state.task(call.data["task"])
    check_created(task, call.data, _UNFINISHED)
    given = {item["name"]: _only(item, _CONFIGURATION) for item in call.data["configuration"]}
    kept = {} if call.data.get("replace_configuration") else task["configuration"]
    replace_in(task, configuration={**kept, **given})
    _touched(state, task)
    return {"updated": 1}


@endpoint("tasks.delete_configuration", {**TASK, "configuration": Field("list", required=True, minimum_items=1)})
def delete_configuration(state: State, call: Call) -> Doc:
    task = state.task(call.data["task"])
    check_created(task, call.data, _UNFINISHED)
    for key in call.data["configuration"]:
        task["configuration"].pop(key, None)
    _touched(state, task)
    return {"deleted": 1}


@endpoint("tasks.get_configurations", {"tasks": REQUIRED})
def get_configurations(state: State, call: Call) -> Doc:
    wanted = call.data.get("names")
    found = []
    for task_id in call.data["tasks"]:
        stored = state.task_for_reading(task_id)["configuration"]
        items = [stored[name] for name in sorted(stored) if not wanted or name in wanted]
        found.append({"task": task_id, "configuration": items})
    return {"configurations": found}


@endpoint("tasks.get_configuration_names", {"tasks": REQUIRED})
def get_configuration_names(state: State, call: Call) -> Doc:
    found = [
        {"task": task_id, "names": sorted(state.task_for_reading(task_id)["configuration"])}
        for task_id in call.data["tasks"]
    ]
    return {"configurations": found}


@endpoint("tasks.edit_runtime", {**TASK, "add_or_update": DICT, "remove": Field("list")})
def edit_runtime(state: State, call: Call) -> Doc:
    """Merges; keys come back escaped (`a%2Eb`, `%24c`), other than those set through tasks.edit."""
    task = state.task(call.data["task"])
    _check_unfinished(task)
    added, removed = call.data.get("add_or_update") or {}, call.data.get("remove") or []
    if not added and not removed:
        return {"updated": 0}
    runtime = {**task["runtime"], **{_escaped(key): value for key, value in added.items() if value is not None}}
    for key in removed:
        runtime.pop(_escaped(key), None)
    replace_in(task, runtime=runtime)
    _touched(state, task)
    return {"updated": 1}


def _escaped(key: str) -> str:
    return key.replace("%", "%25").replace(".", "%2E").replace("$", "%24")


@endpoint("tasks.add_or_update_artifacts", {**TASK, "artifacts": _ARTIFACTS}, version="2.10")
def add_or_update_artifacts(state: State, call: Call) -> Doc:
    """Key and mode are the identity; the list is sorted by key."""
    task = state.task(call.data["task"])
    _check_unfinished(task)
    stored = {(item["key"], item.get("mode", "output")): item for item in task["execution"]["artifacts"]}
    for item in call.data["artifacts"]:
        artifact = {"mode": "output", "display_data": [], **_only(item, _ARTIFACT)}
        stored[artifact["key"], artifact["mode"]] = artifact
    artifacts = sorted(stored.values(), key=lambda item: (item["key"], item["mode"]))
    replace_in(task, execution={**task["execution"], "artifacts": artifacts})
    _touched(state, task)
    return {"updated": 1}


@endpoint(
    "tasks.delete_artifacts",
    {**TASK, "artifacts": Field("list", required=True, minimum_items=1, items={"key": REQUIRED_STR, "mode": _MODE})},
    version="2.10",
)
def delete_artifacts(state: State, call: Call) -> Doc:
    """Answers 1 whether or not there was such an artifact."""
    task = state.task(call.data["task"])
    _check_unfinished(task)
    gone = {(item["key"], item.get("mode") or "output") for item in call.data["artifacts"]}
    kept = [item for item in task["execution"]["artifacts"] if (item["key"], item.get("mode", "output")) not in gone]
    task["execution"]["artifacts"] = kept
    _touched(state, task)
    return {"deleted": 1}


@endpoint(
    "tasks.add_or_update_model",
    {
        **TASK,
        "name": REQUIRED_STR,
        "model": REQUIRED_STR,
        "type": Field("str", True, choices=("input", "output")),
        "iteration": INT,
    },
    version="2.13",
)
def add_or_update_model(state: State, call: Call) -> Doc:
    """Links a model, which need not exist; the name is the identity."""
    task = state.task(call.data["task"])
    _check_unfinished(task)
    kind = call.data["type"]
    others = [item for item in task["models"][kind] if item["name"] != call.data["name"]]
    entry = {"name": call.data["name"], "model": call.data["model"], "updated": iso_ms(now())}
    task["models"][kind] = [*others, entry]
    task["last_iteration"] = max(task["last_iteration"], call.data.get("iteration") or 0)
    _touched(state, task)
    return {"updated": 1}


@endpoint("tasks.delete_models", {**TASK, "models": REQUIRED})
def delete_models(state: State, call: Call) -> Doc:
    task = state.task(call.data["task"])
    _check_unfinished(task)
    for item in call.data["models"]:
        kept = [entry for entry in task["models"][item["type"]] if entry["name"] != item["name"]]
        task["models"][item["type"]] = kept
    _touched(state, task)
    return {"deleted": 1}


def _only(item: Doc, fields: dict[str, Field]) -> Doc:
    """The known and set fields of a list member."""
    return {key: copy.deepcopy(item[key]) for key in fields if item.get(key) is not None}
