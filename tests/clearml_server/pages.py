"""Pages for people: one for each Task, under the URLs that the SDK prints, and lists of projects and Tasks."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterable, Iterator
from typing import Any

from flask import Flask, Response, render_template, request
from markupsafe import Markup, escape

from .charts import curves, singles
from .credentials import COOKIE
from .envelope import Doc
from .gate import Gate
from .readout import console
from .state import State

_OTHERS = ("plot", "training_debug_image", "training_stats_vector")


def create_pages(state: State, gate: Gate) -> Flask:
    """The web server as a Flask app. Whatever follows the Task id in a URL shows the same page."""
    app = Flask(__name__)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters |= {"linked": _linked, "moment": _moment}

    def page(template: str, status: int = 200, **values: Any) -> tuple[Response, None]:
        return Response(render_template(template, **values), status), None

    def index() -> tuple[Response, None]:
        with state.lock:
            projects = sorted(state.projects.values(), key=lambda project: str(project["name"]))
            groups = [(project, _tasks_in(state, project["id"])) for project in projects]
            loose = [task for task in state.tasks.values() if task.get("project") not in state.projects]
            return page("index.html", heading="ClearML test double", groups=groups + ([(None, loose)] if loose else []))

    def one_project(project_id: str) -> tuple[Response, None]:
        with state.lock:
            project = state.projects.get(project_id)
            if not project:
                return page("index.html", 404, heading="No such project", groups=[], back=True)
            groups = [(project, _tasks_in(state, project_id))]
            return page("index.html", heading=project["name"], groups=groups, back=True)

    def one_task(task_id: str) -> tuple[Response, None]:
        with state.lock:
            if task_id not in state.tasks:
                return page("index.html", 404, heading="No such task", groups=[], back=True)
            response, body = page("task.html", **_task_values(state, task_id))
            # Artifacts are behind the file server's login; browsers send cookies of a host to all its ports.
            response.set_cookie(COOKIE, state.credentials.token({"user": state.user}), httponly=True, samesite="Lax")
            return response, body

    @app.route("/")
    @app.route("/projects")
    @app.route("/dashboard")
    def show_index() -> Response:
        return gate.run(request, "web.page", index)

    @app.route("/projects/<project_id>")
    @app.route("/projects/<project_id>/experiments")
    @app.route("/projects/<project_id>/tasks")
    def show_project(project_id: str) -> Response:
        return gate.run(request, "web.page", index if project_id == "*" else lambda: one_project(project_id))

    @app.route("/projects/<project_id>/<any(experiments, tasks):kind>/<task_id>", defaults={"tab": ""})
    @app.route("/projects/<project_id>/<any(experiments, tasks):kind>/<task_id>/<path:tab>")
    def show_task(project_id: str, kind: str, task_id: str, tab: str) -> Response:
        return gate.run(request, "web.page", lambda: one_task(task_id))

    return app


def _tasks_in(state: State, project_id: str) -> list[Doc]:
    """Newest first."""
    return [task for task in reversed(state.tasks.values()) if task.get("project") == project_id]


def _task_values(state: State, task_id: str) -> Doc:
    task = state.tasks[task_id]
    parameters = copy.deepcopy(task["hyperparams"]) or {}
    properties = parameters.pop("properties", {})
    models = [
        (kind, entry, state.models.get(entry["model"]))
        for kind in ("input", "output")
        for entry in task["models"][kind]
    ]
    return {
        "task": task,
        "project": state.projects.get(task.get("project", "")),
        "parent": state.tasks.get(task.get("parent", "")),
        "children": [other for other in state.tasks.values() if other.get("parent") == task_id and other is not task],
        "properties": properties,
        "parameters": parameters,
        "artifacts": task["execution"]["artifacts"],
        "models": models,
        "curves": curves(state, task_id),
        "singles": singles(state, task_id),
        "pictures": list(_pictures(state.events.get(task_id, []))),
        "others": [event for event in state.events.get(task_id, []) if event["type"] in _OTHERS],
        "console": console(state, task_id),
    }


def _pictures(events: Iterable[Doc]) -> Iterator[Doc]:
    """Debug samples, and the images of plots as ClearML's own binding makes them of figures."""
    for event in events:
        name = f"{event.get('metric')} / {event.get('variant')} @ {event.get('iter')}"
        if event["type"] == "training_debug_image":
            yield {"url": event.get("url"), "kind": "debug sample", "name": name}
        elif event["type"] == "plot":
            with contextlib.suppress(ValueError, AttributeError, TypeError):
                for image in json.loads(event["plot_str"])["layout"].get("images") or ():
                    yield {"url": image.get("source"), "kind": "plot", "name": name}


def _linked(value: Any) -> Markup:
    """A value as text; an http(s) address as a link."""
    text = "" if value is None else str(value)
    if text.startswith(("http://", "https://")) and not any(sign.isspace() for sign in text):
        return Markup('<a href="{0}">{0}</a>').format(text)
    return escape(text)


def _moment(value: str | None) -> str:
    return value[:19].replace("T", " ") + " UTC" if value else ""
