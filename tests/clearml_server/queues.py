"""Queues (07b, 07d). Taking a Task out of a queue does not change the Task."""

from __future__ import annotations

from collections.abc import Callable

from . import documents
from .envelope import Doc, bad_request, invalid_id
from .query import Fields, plain, project_fields, select
from .registry import Call, endpoint
from .schema import INT, REQUIRED_STR
from .state import State, iso_ms, new_id, now, store

_QUEUE = {"queue": REQUIRED_STR}
_ENTRY = {"queue": REQUIRED_STR, "task": REQUIRED_STR}
_FIELDS: Fields = {
    **plain("id name company created tags system_tags entries last_update display_name"),
    "metadata": "*",
}


def new_queue(state: State, name: str) -> Doc:
    stamp = iso_ms(now())
    queue: Doc = {
        "id": new_id(),
        "name": documents.name(name),
        "company": state.company,
        "created": stamp,
        "tags": [],
        "system_tags": [],
        "entries": [],
        "last_update": stamp,
        "metadata": {},
    }
    state.queues[queue["id"]] = queue
    return queue


def _named(state: State, name: str) -> Doc | None:
    return next((queue for queue in state.queues.values() if queue["name"] == name), None)


def default_queue(state: State) -> Doc:
    return _named(state, "default") or new_queue(state, "default")


def find_queue(state: State, queue_id: str) -> Doc:
    if queue_id not in state.queues:
        raise invalid_id("queue", id=queue_id, company=state.company)
    return state.queues[queue_id]


def queue_for(state: State, data: Doc) -> Doc:
    """The queue of a tasks.enqueue call: by id, by name (made where there is none), or the default one."""
    if data.get("queue"):
        return find_queue(state, data["queue"])
    if data.get("queue_name"):
        return _named(state, data["queue_name"]) or new_queue(state, data["queue_name"])
    return default_queue(state)


def add_entry(state: State, queue: Doc, task_id: str) -> None:
    if any(entry["task"] == task_id for entry in queue["entries"]):
        raise bad_request(706, "Failed adding task to queue since task is already queued", task=task_id)
    queue["entries"].append({"task": task_id, "added": iso_ms(now())})
    queue["last_update"] = iso_ms(now())


def remove_entries(state: State, task_id: str) -> int:
    """Take a Task out of every queue; gives how many queues it was in."""
    count = 0
    for queue in state.queues.values():
        kept = [entry for entry in queue["entries"] if entry["task"] != task_id]
        count += len(queue["entries"]) - len(kept)
        queue["entries"] = kept
    return count


@endpoint("queues.create", {"name": REQUIRED_STR}, version="2.4")
def create(state: State, call: Call) -> Doc:
    name = documents.name(call.data["name"])
    if _named(state, name):
        text = "Value combination already exists (unique field already contains this value)"
        raise bad_request(801, text, err=f"Tried to save duplicate unique keys (name: {name})")
    queue = new_queue(state, name)
    for key in ("tags", "system_tags"):
        queue[key] = sorted(call.data.get(key) or [])
    return {"id": queue["id"]}


@endpoint("queues.get_by_id", _QUEUE, version="2.4")
def get_by_id(state: State, call: Call) -> Doc:
    return {"queue": _shown(find_queue(state, call.data["queue"]), call)}


@endpoint("queues.get_default", version="2.4")
def get_default(state: State, call: Call) -> Doc:
    return {"id": default_queue(state)["id"], "name": "default"}


@endpoint("queues.get_all", version="2.4")
def get_all(state: State, call: Call) -> Doc:
    found = select(state.queues.values(), call.data, _FIELDS)
    only = call.data.get("only_fields")
    return {"queues": [project_fields(_shown(queue, call), only, _FIELDS) for queue in found]}


def _shown(queue: Doc, call: Call) -> Doc:
    """Before 2.13, metadata was a list (07d #3, asked by the agent with 2.5)."""
    return queue if call.version >= (2, 13) else {**queue, "metadata": list(queue["metadata"].values())}


@endpoint("queues.get_all_ex", version="2.4")
def get_all_ex(state: State, call: Call) -> Doc:
    found = select(state.queues.values(), call.data, _FIELDS)
    shown = []
    for queue in found:
        entries = [
            {**entry, "task": {"id": entry["task"], "name": state.tasks.get(entry["task"], {}).get("name")}}
            for entry in queue["entries"]
        ]
        workers = [{"name": name} for name, worker in state.workers.items() if queue["id"] in worker["queues"]]
        shown.append({**queue, "company": {"id": queue["company"]}, "entries": entries, "workers": workers})
    return {"queues": shown}


@endpoint("queues.update", _QUEUE, version="2.4")
def update(state: State, call: Call) -> Doc:
    queue = find_queue(state, call.data["queue"])
    fields: Doc = {}
    for key in ("name", "tags", "system_tags"):
        if call.data.get(key) is not None:
            fields[key] = documents.name(call.data[key]) if key == "name" else sorted(call.data[key])
    store(queue, {**fields, "last_update": state.changed()["last_update"]})
    return {"fields": fields, "updated": 1}


@endpoint("queues.delete", _QUEUE, version="2.4")
def delete(state: State, call: Call) -> Doc:
    """With force, the Tasks in it go back to `created`."""
    queue = find_queue(state, call.data["queue"])
    if queue["entries"] and not call.data.get("force"):
        raise bad_request(702, "Queue is not empty (use force=true to delete)", id=queue["id"])
    for entry in queue["entries"]:
        task = state.tasks.get(entry["task"])
        if task and task["status"] == "queued":
            store(task, {"status": "created", "execution.queue": None, **state.changed()})
    del state.queues[queue["id"]]
    return {"deleted": 1}


@endpoint("queues.add_task", _ENTRY, version="2.4")
def add_task(state: State, call: Call) -> Doc:
    add_entry(state, find_queue(state, call.data["queue"]), call.data["task"])
    return {"added": 1}


@endpoint("queues.get_next_task", _QUEUE)
def get_next_task(state: State, call: Call) -> Doc:
    """The first entry, or nothing. The Task stays `queued` until someone calls started."""
    queue = find_queue(state, call.data["queue"])
    if not queue["entries"]:
        return {}
    entry = queue["entries"].pop(0)
    queue["last_update"] = iso_ms(now())
    answer = {"entry": entry}
    if call.data.get("get_task_info"):
        answer["task_info"] = {"company": state.company, "user": state.user}
    return answer


@endpoint("queues.peek_task", _QUEUE, version="2.15")
def peek_task(state: State, call: Call) -> Doc:
    entries = find_queue(state, call.data["queue"])["entries"]
    return {"task": entries[0]["task"]} if entries else {}


@endpoint("queues.get_num_entries", _QUEUE, version="2.15")
def get_num_entries(state: State, call: Call) -> Doc:
    return {"num": len(find_queue(state, call.data["queue"])["entries"])}


@endpoint("queues.remove_task", _ENTRY, version="2.4")
def remove_task(state: State, call: Call) -> Doc:
    queue = find_queue(state, call.data["queue"])
    kept = [entry for entry in queue["entries"] if entry["task"] != call.data["task"]]
    removed = len(queue["entries"]) - len(kept)
    queue["entries"] = kept
    return {"removed": removed}


_MOVES: dict[str, Callable[[int, int, int], int]] = {
    "queues.move_task_to_front": lambda place, count, last: 0,
    "queues.move_task_to_back": lambda place, count, last: last,
    "queues.move_task_forward": lambda place, count, last: max(0, place - count),
    "queues.move_task_backward": lambda place, count, last: min(last, place + count),
}


def move_task(state: State, call: Call) -> Doc:
    entries = find_queue(state, call.data["queue"])["entries"]
    places = [place for place, entry in enumerate(entries) if entry["task"] == call.data["task"]]
    if not places:
        raise bad_request(704, "Invalid task id for queue", task=call.data["task"])
    target = _MOVES[call.endpoint](places[0], call.data.get("count") or 1, len(entries) - 1)
    entries.insert(target, entries.pop(places[0]))
    return {"position": target}


for _name in _MOVES:
    endpoint(_name, {**_ENTRY, "count": INT}, version="2.4")(move_task)
