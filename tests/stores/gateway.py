"""A gateway before an MLflow server: it requires headers, a client certificate, or a path."""

from __future__ import annotations

import shutil
import ssl
import threading
from collections.abc import Callable, Mapping
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit

_OF_CONNECTION = ("transfer-encoding", "connection", "keep-alive", "host")


class Gateway:
    """A reverse proxy.

    Args:
        server: address of the MLflow server.
        is_allowed: returns True for the headers of a request that may pass; others are answered with 401.
        prefix: the path that stands before the server's own paths, "" for none.
        tls: the context, for HTTPS.

    Attributes:
        url: its address, with the path.
    """

    def __init__(
        self,
        server: str,
        is_allowed: Callable[[Mapping[str, str]], bool] = lambda _: True,
        prefix: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        target = urlsplit(server)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.close_connection = True
                if not is_allowed(self.headers):
                    self.send_error(401)
                    return
                if not self.path.startswith(f"{prefix}/"):
                    self.send_error(404)
                    return
                connection = HTTPConnection(target.hostname or "", target.port)
                headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_CONNECTION}
                connection.request(self.command, self.path.removeprefix(prefix), body, headers)
                with connection.getresponse() as answer:
                    self.send_response_only(answer.status)
                    for name, value in answer.getheaders():
                        if name.lower() not in _OF_CONNECTION:
                            self.send_header(name, value)
                    self.send_header("Connection", "close")
                    self.end_headers()
                    shutil.copyfileobj(answer, self.wfile)
                connection.close()

            def log_message(self, *_: object) -> None:
                pass

        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
            setattr(Handler, f"do_{method}", Handler.handle_any)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"{'https' if tls else 'http'}://localhost:{self._server.server_port}{prefix}"

    def __enter__(self) -> Gateway:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
