"""The API port: from an HTTP request to a handler and back (README, "Wire format")."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from werkzeug import Request, Response

from . import (
    bson,
    handlers,  # noqa: F401  registers the endpoints
)
from .credentials import COOKIE
from .envelope import API_VERSION, ApiError, envelope
from .gate import Gate, json_response
from .registry import ENDPOINTS, Call, Endpoint
from .schema import check
from .state import State

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

# The SDK keeps below 15 MiB a request. What the real front end answers beyond was not recorded: 413 is nginx's.
MAX_REQUEST_BYTES = 15 * 1024 * 1024
_PATH = re.compile(r"/(?:v(\d+\.\d+)/)?([A-Za-z_]+\.[A-Za-z_]+)/?")
_UNREADABLE = "The browser (or proxy) sent a request that this server could not understand."


def create_api(state: State, gate: Gate) -> WSGIApplication:
    """The API as a WSGI application. The HTTP method makes no difference; a GET has a body."""

    @Request.application
    def api(request: Request) -> Response:
        raw = request.get_data(cache=True)  # also when it is not needed, or keep-alive breaks
        name = request.path.rstrip("/").rpartition("/")[2]
        return gate.run(request, name, lambda: _answer(state, request, raw))

    return api


def _answer(state: State, request: Request, raw: bytes) -> tuple[Response, Any]:
    if request.method == "OPTIONS":
        return Response(""), None
    if request.headers.get("Content-Encoding", "identity") != "identity":
        return Response(f"Content encoding is not supported ({request.headers['Content-Encoding']})", 415), None
    if len(raw) > MAX_REQUEST_BYTES:
        return Response("<html><h1>413 Request Entity Too Large</h1></html>", 413), None
    match = _PATH.fullmatch(request.path)
    if not match:
        refusal = ApiError(400, 0, f"Invalid request path {request.path}")
        return json_response(envelope("", 1.0, None, error=refusal), 400), None
    requested, name = match[1] or API_VERSION, match[2]
    # Versions below 2 come back as numbers, the one answered too (05 #128, 06 #31); the others as texts.
    echoed: str | float = float(requested) if requested.startswith("1.") else requested
    found = ENDPOINTS.get(name)
    if not found:
        refusal = ApiError(404, 0, f"Unable to find endpoint for name {name} and version {requested}")
        return json_response(envelope(name, echoed, None, error=refusal), 404), None
    actual, body = _actual_version(found, requested), None
    try:
        _check_access(state, found, request)
        call = _read(request, raw, name, requested)
        body = call.data if call.batch is None else call.batch
        check(call.data if call.batch is None else {}, found.fields if call.batch is None else {})
        if not name.startswith("events."):  # these go elsewhere; all else, queries too, is written in BSON
            bson.size(call.data)
        with state.lock:
            data = found.handler(state, call)
            response = json_response(envelope(name, echoed, actual, data))
    except ApiError as error:
        return json_response(envelope(name, echoed, actual, error=error), error.code), body
    except Exception as error:
        # The real server answers 500/0 with the text of any exception of its own code; so do the cases recorded.
        return json_response(envelope(name, echoed, actual, error=ApiError(500, 0, str(error))), 500), body
    if name == "auth.login":
        response.set_cookie(COOKIE, data["token"], max_age=99999999999, httponly=True, samesite="Lax")
    return response, body


def _check_access(state: State, found: Endpoint, request: Request) -> None:
    if found.public:
        return
    with state.lock:
        state.credentials.check(request.headers.get("Authorization"), request.cookies.get(COOKIE))
    if found.roles:
        raise ApiError(403, 20, f"Forbidden (not allowed for role): role=user, allowed=({found.roles})")


def _actual_version(found: Endpoint, requested: str) -> str | float:
    """events.get_task_log has an old form below 2.9; for the rest one version was seen whatever was asked for."""
    old_log = found.name == "events.get_task_log" and _numbers(requested) < (2, 9)
    actual = "1.7" if old_log else found.version
    return float(actual) if requested.startswith("1.") else actual


def _numbers(version: str) -> tuple[int, int]:
    major, minor = version.split(".")
    return int(major), int(minor)


def _read(request: Request, raw: bytes, name: str, requested: str) -> Call:
    call = Call(
        name,
        version=_numbers(requested),
        worker=request.headers.get("X-ClearML-Worker") or "<unknown>",
        remote=request.remote_addr or "",
    )
    if request.headers.get("Content-Type") == "application/json-lines":  # exactly: no charset
        call.batch = [_json_line(line) for line in raw.decode().splitlines() if line.strip()]
        return call
    data = _json(raw) if raw.strip() else {}
    if not isinstance(data, dict):
        raise ApiError(500, 0, "Data should be a dict")
    call.data = {**data, **{key: _converted(value) for key, value in request.args.items()}}
    return call


def _json(text: bytes | str) -> Any:
    try:
        return json.loads(text)  # takes NaN and Infinity, as the server does
    except ValueError:
        raise ApiError(400, 0, _UNREADABLE) from None


def _json_line(line: str) -> Any:
    value = _json(line)
    if not isinstance(value, dict):
        raise ApiError(400, 0, f"json lines must contain objects, found: {type(value).__name__}")
    return value


def _converted(value: str) -> Any:
    """Query parameters: true/false and digits are converted, so that `?id=000` becomes 0."""
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    return int(value) if value.isdigit() else value
