"""A session with a server that answers anything; run by test_readers.py, prints "done" where all of it was borne."""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

# A token's payload is all that the SDK reads of it.
_CLAIMS = {"exp": 4102444800, "api_version": "2.34", "server_version": "2.3.0", "feature_set": "basic"}
_PAYLOAD = base64.urlsafe_b64encode(json.dumps(_CLAIMS).encode()).decode().rstrip("=")
_TOKEN = f"{base64.urlsafe_b64encode(b'{}').decode()}.{_PAYLOAD}.AAAA"
LOGIN = json.dumps({"meta": {"result_code": 200}, "data": {"token": _TOKEN}}).encode()

told: dict[str, Any] = {"status": 200, "body": b"{}"}


class Handler(BaseHTTPRequestHandler):
    protocol_version, wbufsize = "HTTP/1.1", -1

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_login = "auth.login" in self.path
        body = LOGIN if is_login else told["body"]
        self.send_response(200 if is_login else told["status"])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: Any) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
for name in ("API", "WEB", "FILES"):
    os.environ[f"CLEARML_{name}_HOST"] = f"http://127.0.0.1:{server.server_port}"
os.environ |= {"CLEARML_API_ACCESS_KEY": "k", "CLEARML_API_SECRET_KEY": "s", "CLEARML_CONFIG_FILE": "/nowhere"}

from autoinstrument.to_clearml.errors import ClearMLError  # noqa: E402  (the SDK reads the variables when imported)
from autoinstrument.to_clearml.session import Session  # noqa: E402
from autoinstrument.to_clearml.tasks import Tasks  # noqa: E402

CALLS: list[Callable[[Tasks], Any]] = [
    lambda tasks: tasks.create("project", {"name": "name"}),
    lambda tasks: tasks.of_run("run"),
    lambda tasks: tasks.get("id"),
    lambda tasks: tasks.find("id", adopted=False, start=False),
    lambda tasks: list(tasks.curve_points("id", "title")),
    lambda tasks: tasks.add_events([{"type": "log", "task": "id"}]),
    lambda tasks: tasks.models.of_task("id"),
    lambda tasks: tasks.models.create("id", "", {}),
]

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
# Not "returned" with "scroll_id": with these a server may well send pages for ever.
names = st.sampled_from(["id", "task", "tasks", "projects", "models", "variants", "added", "returned"])

session = Session()


@settings(max_examples=80, deadline=None, database=None)
@given(
    data=st.dictionaries(names, anything) | anything,
    raw=st.none() | st.binary(max_size=50),
    meta=st.just({}) | anything,
    status=st.sampled_from([200, 200, 200, 400, 404]),
)
def check(data: Any, raw: bytes | None, meta: Any, status: int) -> None:
    told["status"] = status
    told["body"] = json.dumps({"meta": meta, "data": data}).encode() if raw is None else raw
    for call in CALLS:
        try:
            call(Tasks(session))
        except ClearMLError as error:
            if len(str(error)) > 1000:
                raise AssertionError("a message that is no line") from error


check()
told["status"], told["body"] = 200, b"[" * 100_000
try:
    session.call("tasks.get_by_id", task="id")
except ClearMLError:
    print("done")
    sys.stdout.flush()
os._exit(0)  # threads of the SDK
