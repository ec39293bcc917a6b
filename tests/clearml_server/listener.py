"""One listening port with a thread for each connection, which can be closed and opened again."""

from __future__ import annotations

import contextlib
import functools
import io
import selectors
import socket
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from werkzeug.datastructures import Headers
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.test import run_wsgi_app

from .ports import hold

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_connections: dict[int, set[socket.socket]] = {}
_connections_lock = threading.Lock()


class _Handler(WSGIRequestHandler):
    """Keep-alive, no log on stderr, and a list of open connections so that close() can end them.

    Werkzeug closes a connection after each request (2.1 to 3.1). The real server keeps it open, and a new connection
    and thread for each request are a third of its CPU time.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        with _connections_lock:
            _connections.setdefault(id(self.server), set()).add(self.connection)

    def parse_request(self) -> bool:
        """Read a request's head; `http.server` uses the parser of e-mail for it, a quarter of the server's CPU time."""
        if not self.raw_requestline.endswith(b" HTTP/1.1\r\n"):
            return super().parse_request()
        self.requestline = self.raw_requestline.decode("latin-1").rstrip()
        self.command, self.path, self.request_version = self.requestline.split()
        self.headers = Headers()
        while line := self.rfile.readline(2**16).decode("latin-1").rstrip():
            name, _, value = line.partition(":")
            self.headers.add(name, value.strip())
        self.close_connection = self.headers.get("Connection", "").lower() == "close"
        return "Expect" not in self.headers or self.handle_expect_100()

    def run_wsgi(self) -> None:
        """Answer one request; its body is read to its end, whatever the application reads: the next one follows it."""
        environ = self.make_environ()
        body = environ["wsgi.input"]
        size = -1 if "wsgi.input_terminated" in environ else int(self.headers.get("Content-Length", 0))  # -1: in chunks
        environ["wsgi.input"] = io.BytesIO(body.read(size))
        parts, status, headers = run_wsgi_app(self.server.app, environ, buffered=True)
        content = b"".join(parts)
        headers.setdefault("Content-Length", str(len(content)))
        headers.setdefault("Date", self.date_time_string())
        head = "".join(f"{name}: {value}\r\n" for name, value in headers)
        self.wfile.write(f"{self.protocol_version} {status}\r\n{head}\r\n".encode("latin-1") + content)

    def finish(self) -> None:
        with _connections_lock:
            _connections.get(id(self.server), set()).discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002  werkzeug's name
        """Log nothing: tests read the record of requests."""


class Listener:
    """A WSGI application on one port of the loopback interface.

    Args:
        create: makes the application, when the first request arrives: a Flask app takes 3 ms, most tests make a server
            of their own, and few of them open its pages.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
    """

    def __init__(self, create: Callable[[], WSGIApplication], host: str, port: int) -> None:
        self._created = functools.cache(create)
        self._host = host
        self.port = port
        self._held: socket.socket | None = None
        self._server: BaseWSGIServer | None = None
        self._thread: threading.Thread | None = None
        self._end: socket.socket | None = None

    @property
    def listening(self) -> bool:
        return self._server is not None

    def open(self) -> None:
        """Listen; the port chosen for 0 is kept for every later open()."""
        if self._server:
            return
        if self.port == 0:
            self._held = hold(self._host)
            self.port = self._held.getsockname()[1]
        self._server = make_server(self._host, self.port, self._answer, threaded=True, request_handler=_Handler)
        self._end, ended = socket.socketpair()
        name = f"clearml-double-{self.port}"
        self._thread = threading.Thread(target=_serve, args=(self._server, ended), name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Refuse new connections and cut the open ones."""
        if not self._server or not self._thread or not self._end:
            return
        self._end.send(b"\n")  # closing it would not do: a fork of this process holds it, too
        self._thread.join()
        self._end.close()
        self._server.server_close()
        with _connections_lock:
            for connection in _connections.pop(id(self._server), set()):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._server = self._thread = self._end = None

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self._created()(environ, start_response)


def _serve(server: BaseWSGIServer, ended: socket.socket) -> None:
    """Accept connections until something arrives at a socket.

    `serve_forever` would look 50 times a second for its end, and a dozen servers do so beside each other.
    """
    with ended, selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        selector.register(ended, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if ended in ready:
                return
            server.handle_request()
