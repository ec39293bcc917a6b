"""The file server: multipart upload, download with ranges, delete (04, 04b)."""

from __future__ import annotations

import io
import json
import mimetypes
import posixpath
from typing import Any
from urllib.parse import unquote

import flask
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, Unauthorized

from .credentials import COOKIE
from .envelope import ApiError
from .gate import Gate
from .state import State


def create_files(state: State, gate: Gate) -> Flask:
    """The file server as a Flask app. Answers are JSON typed text/html, as recorded."""
    app = Flask(__name__)

    @app.route("/", defaults={"path": ""}, methods=["GET", "POST", "PUT", "DELETE", "HEAD"])
    @app.route("/<path:path>", methods=["GET", "POST", "PUT", "DELETE", "HEAD"])
    def files(path: str) -> Response:
        raw_parts = _parts()  # read the body first, whatever follows
        names = {"POST": "files.upload", "PUT": "files.upload", "DELETE": "files.delete"}
        name = "files.delete" if path == "delete_many" else names.get(request.method, "files.download")
        return gate.run(request, name, lambda: _answer(state, path, raw_parts))

    return app


def _parts() -> list[tuple[str, bytes]]:
    parts = [(key, part.read()) for key, part in request.files.items(multi=True)]
    request.get_data()
    return parts


def _answer(state: State, path: str, parts: list[tuple[str, bytes]]) -> tuple[Response, Any]:
    try:
        with state.lock:
            _check_token(state)
            response, body = _handle(state, path, parts)
    except HTTPException as error:
        response, body = error.get_response(), None  # type: ignore[assignment]
    response.headers["Access-Control-Allow-Origin"] = "*"
    return response, body


def _check_token(state: State) -> None:
    header, cookie = request.headers.get("Authorization"), request.cookies.get(COOKIE)
    if not header and not cookie:
        raise Unauthorized
    try:
        state.credentials.check(header, cookie)
    except ApiError as error:
        reason = error.message.partition("reason=")[2] or error.message
        raise Unauthorized(response=Response(reason, 401)) from None


def _handle(state: State, path: str, parts: list[tuple[str, bytes]]) -> tuple[Response, Any]:
    if request.method == "POST":
        if path == "delete_many":
            return _delete_many(state)
        return _upload(state, parts)
    if request.method == "PUT" or not path:
        raise MethodNotAllowed(["DELETE", "OPTIONS", "HEAD", "GET"])
    if request.method == "DELETE":
        if state.files.pop(path, None) is None:
            return Response(f"File {path} not found", 404), path
        return _text(path), path
    if path not in state.files:
        raise NotFound
    content = io.BytesIO(state.files[path])
    return (
        flask.send_file(
            content,
            mimetype=mimetypes.guess_type(path)[0] or "application/octet-stream",
            as_attachment="download" in request.args,
            download_name=posixpath.basename(path),
            conditional=True,
            max_age=300,
        ),
        path,
    )


def _upload(state: State, parts: list[tuple[str, bytes]]) -> tuple[Response, Any]:
    """The part name is the path; an existing file is overwritten; a way out of the folder is 404."""
    stored = []
    for name, content in parts:
        path = posixpath.normpath(unquote(name).lstrip("/"))
        if path.startswith("..") or path == ".":
            raise NotFound
        state.files[path] = content
        stored.append(path)
    return _text(stored), stored


def _delete_many(state: State) -> tuple[Response, Any]:
    deleted, missing = {}, []
    wanted = json.loads(request.get_data())["files"]
    for path in wanted:
        if state.files.pop(unquote(path).lstrip("/"), None) is None:
            missing.append(path)
        else:
            deleted[path] = path
    return _text({"deleted": deleted, "errors": {"Not found": missing} if missing else {}}), wanted


def _text(value: Any) -> Response:
    return Response(json.dumps(value), content_type="text/html; charset=utf-8")
