"""Pages for people: every project and Task."""

from __future__ import annotations

from flask import Flask, Response, request

from .gate import Gate
from .state import State


def create_pages(state: State, gate: Gate) -> Flask:
    app = Flask(__name__)

    @app.route("/")
    def index() -> Response:
        return gate.run(request, "web.page", lambda: (Response("ok"), None))

    return app
