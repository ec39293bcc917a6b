"""Workers, which report themselves and the Task that they run (03d, 07b, 07d)."""

from __future__ import annotations

from fnmatch import fnmatchcase

from .envelope import Doc, invalid_id
from .registry import Call, endpoint
from .schema import INT, REQUIRED_STR, Field
from .state import State, iso, iso_ms, now, store

_DEFAULT_TIMEOUT_S = 600
_WORKER = {"worker": REQUIRED_STR}


def _check_queues(state: State, queues: list[str]) -> None:
    unknown = [queue for queue in queues if queue not in state.queues]
    if unknown:
        raise invalid_id("queue", ids=f"({', '.join(unknown)})")


def _registered(state: State, call: Call) -> Doc:
    """The worker's entry, made where there is none: a report registers too."""
    queues = call.data.get("queues") or []
    stamp = iso(now())
    worker = state.workers.setdefault(
        call.data["worker"], {"register_time": stamp, "register_timeout": _DEFAULT_TIMEOUT_S, "queues": []}
    )
    worker |= {"ip": call.remote, "last_activity_time": stamp}
    if queues:
        worker["queues"] = list(queues)
    return worker


@endpoint("workers.register", {**_WORKER, "timeout": INT, "queues": Field("list")}, version="2.4")
def register(state: State, call: Call) -> Doc:
    _check_queues(state, call.data.get("queues") or [])
    worker = _registered(state, call)
    worker |= {
        "register_time": iso(now()),
        "register_timeout": call.data.get("timeout") or _DEFAULT_TIMEOUT_S,
        "tags": sorted(call.data.get("tags") or []),
    }
    return {}


@endpoint("workers.unregister", _WORKER, version="2.4")
def unregister(state: State, call: Call) -> Doc:
    """No error for a worker that is not there."""
    state.workers.pop(call.data["worker"], None)
    return {}


@endpoint("workers.status_report", {**_WORKER, "timestamp": Field("int", required=True)}, version="2.4")
def status_report(state: State, call: Call) -> Doc:
    """With `task`, the Task knows its worker from then on: tasks.stop only asks for the stop (03d)."""
    worker = _registered(state, call)
    worker["last_report_time"] = iso(now())
    worker["task"] = call.data.get("task")
    task = state.tasks.get(str(call.data.get("task")))
    if task:
        store(task, {"last_worker": call.data["worker"], "last_worker_report": iso_ms(now()), **state.changed()})
    return {}


@endpoint("workers.get_all", version="2.4")
def get_all(state: State, call: Call) -> Doc:
    pattern = call.data.get("worker_pattern") or "*"
    return {"workers": [_shown(state, name) for name in sorted(state.workers) if fnmatchcase(name, pattern)]}


def _shown(state: State, name: str) -> Doc:
    worker = state.workers[name]
    shown: Doc = {
        "company": {"id": state.company, "name": state.company_name},
        "id": name,
        "ip": worker["ip"],
        "key": f"worker_{state.company}_{state.user}_{name}",
        "last_activity_time": worker["last_activity_time"],
        "queues": [
            {
                "id": queue,
                "name": state.queues[queue]["name"],
                "num_tasks": len(state.queues[queue]["entries"]),
            }
            for queue in worker["queues"]
            if queue in state.queues
        ],
        "register_time": worker["register_time"],
        "register_timeout": worker["register_timeout"],
        "system_tags": [],
        "tags": worker.get("tags", []),
        "user": {"id": state.user, "name": state.user_name},
    }
    if "last_report_time" in worker:
        shown["last_report_time"] = worker["last_report_time"]
    task = state.tasks.get(str(worker.get("task")))
    if task:
        shown["task"] = {
            "id": task["id"],
            "last_iteration": task["last_iteration"],
            "name": task["name"],
            "running_time": 0,
        }
        if task.get("project") in state.projects:
            project = state.projects[task["project"]]
            shown["project"] = {"id": project["id"], "name": project["name"]}
    return shown
