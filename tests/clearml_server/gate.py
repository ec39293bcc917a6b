"""The gate that every request of every port passes: faults, and the record that tests read."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from werkzeug import Request, Response

from .envelope import ApiError, envelope
from .faults import ActiveFault, Fault, Faults


@dataclass(frozen=True)
class RecordedRequest:
    """One request as it came in and how it was answered.

    Args:
        endpoint: `service.action`, `files.upload|download|delete` or `web.page`.
        body: The parsed body: an object; for json-lines a list of objects; for files the path or the list of paths;
            None where a fault came before it was read.
        status: HTTP status; 0 where the connection was dropped instead.
        subcode: `result_subcode` of the envelope (0 for files and pages).
        time: Seconds since the epoch at arrival.
        duration: Seconds until the answer was ready.
        method: HTTP method.
        path: Path with query.
        size: Bytes of the body.
    """

    endpoint: str
    body: Any
    status: int
    subcode: int
    time: float
    duration: float
    method: str
    path: str
    size: int


class _DroppedError(Exception):
    """The connection must be closed without an answer."""


class Gate:
    """Runs handlers behind the faults and writes the record of requests."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.closing = threading.Event()  # a new one after each start, so that no hung request misses the end
        self._records: list[RecordedRequest] = []

    @property
    def records(self) -> list[RecordedRequest]:
        return list(self._records)

    def clear_records(self) -> None:
        self._records.clear()

    def run(self, request: Request, name: str, handle: Callable[[], tuple[Response, Any]]) -> Response:
        """Answer one request: `handle` gives the response and the body for the record."""
        arrived, begun, closing = time.time(), time.monotonic(), self.closing
        response: Response | None = None
        body: Any = None
        status = subcode = 0
        try:
            faults = self.faults.take(
                name, request.get_data(as_text=True) if name.count(".") and not name.startswith("files.") else ""
            )
            for active in faults:
                closing.wait(active.fault.latency)
            response = self._disturb(faults, "before", name, closing)
            if response is None:
                response, body = handle()
                response = self._disturb(faults, "after", name, closing) or response
            status, subcode = response.status_code, int(response.headers.pop("X-Subcode", 0))
        except _DroppedError:
            response = None
        size, path = int(request.headers.get("Content-Length") or 0), request.full_path.removesuffix("?")
        took = time.monotonic() - begun
        record = RecordedRequest(name, body, status, subcode, arrived, took, request.method, path, size)
        self._records.append(record)  # before the client can know: a test may look at once
        return response if response is not None else _cut(request)

    @staticmethod
    def _disturb(faults: list[ActiveFault], when: str, name: str, closing: threading.Event) -> Response | None:
        for active in faults:
            fault = active.fault
            if fault.when != when:
                continue
            if fault.action == "hang":
                while not active.released.wait(0.02):
                    if closing.is_set():
                        raise _DroppedError
            if fault.action == "drop":
                raise _DroppedError
            if fault.status is not None:
                return _error_page(fault, name)
        return None


def _error_page(fault: Fault, name: str) -> Response:
    if fault.status in (403, 500):
        error = ApiError(fault.status, fault.subcode, fault.text)
        response = json_response(envelope(name, "2.23", None, error=error), fault.status)
    else:
        page = f"<html><body><h1>{fault.status}</h1></body></html>\n"
        response = Response(page, fault.status, mimetype="text/html")
    if fault.retry_after is not None:
        response.headers["Retry-After"] = f"{fault.retry_after:g}"
    return response


def _cut(request: Request) -> Response:
    """Shut the socket: what werkzeug writes afterwards fails, and it closes the connection silently."""
    connection: socket.socket = request.environ["werkzeug.socket"]
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    return Response(status=500)


def json_response(body: Any, status: int = 200) -> Response:
    """An answer typed exactly `application/json`, with the subcode for the record."""
    response = Response(json.dumps(body), status, content_type="application/json")
    if isinstance(body, dict) and "meta" in body:
        response.headers["X-Subcode"] = str(body["meta"]["result_subcode"])
    return response
