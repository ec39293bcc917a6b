"""The recorded exchanges: loading them, filling in what was cut, and the objects that existed before they began."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import documents
from .envelope import Doc
from .event_log import EventLog
from .projects import project_by_path
from .state import State

FOLDER = Path(__file__).parent.parent / "data" / "clearml-wire"
ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
_NO_SUCH_ID = re.compile(r"0{32}|f{32}")
_MORE = re.compile(r"…\((\d+) more\)")
_CUT_TEXT = re.compile(r"(.*)…\((\d+) characters\)", re.DOTALL)


@dataclass(frozen=True)
class Exchange:
    """One line of a recording. `partial`: the request was cut in a way that cannot be filled in."""

    number: int
    record: Doc
    request: Any
    partial: bool

    @property
    def endpoint(self) -> str:
        return str(self.record["endpoint"])

    @property
    def response(self) -> Any:
        return self.record.get("response")


def names() -> list[str]:
    """All recordings but the status matrix, which has a form of its own."""
    return sorted(path.stem for path in FOLDER.glob("*.jsonl") if path.stem != "05b_status_matrix")


def lines(name: str) -> Iterator[Doc]:
    with (FOLDER / f"{name}.jsonl").open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def load(name: str) -> list[Exchange]:
    exchanges = []
    for record in lines(name):
        if "endpoint" not in record:  # a note on omitted repeats
            continue
        request = restored(_hidden_events(name, record))
        partial = "…(" in json.dumps(request, ensure_ascii=False)
        if isinstance(request, list):
            request = [item for item in request if not (isinstance(item, str) and item.startswith("…"))]
        exchanges.append(Exchange(record["i"], record, request, partial))
    return exchanges


def restored(value: Any) -> Any:
    """Fill in cuts whose content is plain: one repeated character, or events between two that form a series."""
    if isinstance(value, dict):
        return {restored(key): restored(item) for key, item in value.items()}
    if isinstance(value, str):
        cut = _CUT_TEXT.fullmatch(value)
        return cut[1][0] * int(cut[2]) if cut and len(set(cut[1])) == 1 else value
    if not isinstance(value, list):
        return value
    items: list[Any] = []
    for place, item in enumerate(value):
        more = _MORE.fullmatch(item) if isinstance(item, str) else None
        neighbours = value[place - 1 : place + 2]
        series = _series(neighbours[0], neighbours[-1], int(more[1])) if more and len(neighbours) == 3 else None
        items.extend(series if series else [restored(item)])
    return items


def _series(first: Any, last: Any, count: int) -> list[Doc] | None:
    """Scalars between two of them: iterations in steps of one, values constant, 1/(n+1) or equal to the iteration."""
    if not all(isinstance(end, dict) and isinstance(end.get("value"), (int, float)) for end in (first, last)):
        return None
    begin, end = first["iter"], last["iter"]
    rules = (lambda n: first["value"], lambda n: 1 / (n + 1), lambda n: float(n))
    rule = next((rule for rule in rules if rule(begin) == first["value"] and rule(end) == last["value"]), None)
    if rule is None or end - begin != count + 1:
        return None
    variant = first["variant"]
    numbered = variant.endswith(str(begin)) and last["variant"].endswith(str(end))
    return [
        {
            **first,
            "iter": number,
            "value": rule(number),
            "variant": variant.removesuffix(str(begin)) + str(number) if numbered else variant,
        }
        for number in range(begin + 1, end)
    ]


def _hidden_events(name: str, record: Doc) -> Any:
    """06 #4 hides four events, which the read calls after it show in full."""
    request: Any = record.get("request")
    if (name, record["i"]) != ("06_events", 4):
        return request
    common = {"timestamp": 1795418987001, "task": request[0]["task"]}
    image = {**common, "type": "training_debug_image", "metric": "img", "variant": "a"}
    log = {**common, "type": "log", "worker": "w1"}
    plot = {"metric": "plot title", "variant": "series", "iter": 0}
    figure = '{"data": [{"x": [1, 2], "y": [3, 4]}], "layout": {}}'
    hidden = [
        {**image, "iter": 0, "url": "http://<HOST>:8081/x/a.png", "key": "x/a.png"},
        {**common, "type": "plot", **plot, "plot_str": figure},
        {**log, "level": "info", "msg": "line one"},
        {**log, "timestamp": 1795418987002, "level": "error", "msg": "line two"},
    ]
    return [*request[:4], *hidden, *request[5:]]


def seed(state: State, exchanges: list[Exchange]) -> None:
    """Add the objects that existed before the recording began, as its answers show them (ids as recorded)."""
    _seed_first_run(state, exchanges)
    known = _made(exchanges)
    for exchange in exchanges:
        data = exchange.response.get("data") if isinstance(exchange.response, dict) else None
        for project in _projects(exchange, data or {}):
            _seed_project(state, project, known)
        for kind, found in (("task", state.tasks), ("model", state.models)):
            document = (data or {}).get(kind)
            if isinstance(document, dict) and document.get("id") not in known | found.keys():
                text = json.dumps(document).replace("<COMPANY_ID>", state.company)
                found[document["id"]] = json.loads(text.replace("<USER_ID>", state.user))
        for task in (data or {}).get("tasks", []) if exchange.endpoint == "tasks.get_all" else []:
            if isinstance(task, dict) and task.get("id") and task["id"] not in known | state.tasks.keys():
                project = (exchange.request.get("project") or [None])[0]
                _seed_task(state, task["id"], {"name": "seed", **task, "project": project}, exchange.request)
        if exchange.record["status"] == 200 or exchange.endpoint == "events.add_batch":
            for task_id in _task_ids(exchange.request):
                if task_id not in known | state.tasks.keys() and not _NO_SUCH_ID.fullmatch(task_id):
                    _seed_task(state, task_id, {"name": "seed"}, {})


def _seed_first_run(state: State, exchanges: list[Exchange]) -> None:
    """The events that a Task had before 09a: a run of ten iterations, of which 09b #14 and #16 show the form."""
    shown = {exchange.number: exchange for exchange in exchanges if exchange.endpoint.startswith("events.get_task_")}
    if 14 not in shown or exchanges[-1].endpoint != "events.debug_images":
        return
    single, first, second = shown[14].response["data"]["events"][:3]
    log = shown[16].response["data"]["events"][0]
    run = [single, first, *({**second, "iter": number} for number in range(1, 10)), log]
    state.events.setdefault(single["task"], EventLog()).extend(run)


def _made(exchanges: list[Exchange]) -> set[str]:
    """Ids of the objects that a recording makes itself."""
    return {
        exchange.response["data"]["id"]
        for exchange in exchanges
        if exchange.endpoint.endswith((".create", ".clone")) and exchange.response["data"]
    }


def _seed_task(state: State, task_id: str, fields: Doc, query: Doc) -> None:
    wanted = query.get("status") or ["in_progress"]
    given = {key: value for key, value in fields.items() if value is not None}
    state.tasks[task_id] = {**documents.new_task(state), "type": "training", **given, "id": task_id}
    # Several statuses were asked for: the last one is as good as any.
    state.tasks[task_id]["status"] = "created" if not query and not wanted else wanted[-1]


def _task_ids(request: Any) -> Iterator[str]:
    for item in request if isinstance(request, list) else [request]:
        if isinstance(item, dict):
            found = [item.get("task"), *(item.get("tasks") or []), *(item.get("id") or [])]
            yield from (value for value in found if isinstance(value, str) and ID.fullmatch(value))


def _projects(exchange: Exchange, data: Doc) -> list[Doc]:
    """Projects that an answer shows; where only the id was asked for, the pattern of the request is the name."""
    if exchange.endpoint == "projects.get_by_id" and "project" in data:
        return [data["project"]]
    if exchange.endpoint != "projects.get_all":
        return []
    pattern = re.fullmatch(r"\^([\w/]+)\$", exchange.request.get("name") or "")
    named = {"name": pattern[1]} if pattern else {}
    return [{**named, **project} for project in data.get("projects", []) if "id" in project]


def _seed_project(state: State, shown: Doc, known: set[str]) -> None:
    if shown["id"] in known | state.projects.keys() or "name" not in shown:
        return
    if any(project["name"] == shown["name"] for project in state.projects.values()):
        return
    project = project_by_path(state, shown["name"])
    del state.projects[project["id"]]
    project["id"] = shown["id"]
    state.projects[shown["id"]] = project
