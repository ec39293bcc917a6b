"""A proxy of HTTP that opens a tunnel to one server, whatever host it is asked for, and notes what it was asked for."""

from __future__ import annotations

import base64
import contextlib
import shutil
import socket
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit


class ConnectProxy:
    """Answers CONNECT and plain requests.

    Attributes:
        url: its address, with the user and password that it wants.
        asked: the hosts with ports that clients asked for.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.asked: list[str] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_CONNECT(self) -> None:
                if not self._is_allowed():
                    return
                proxy.asked.append(self.path)
                with socket.create_connection(target) as server:
                    self.send_response(200)
                    self.end_headers()
                    back = threading.Thread(target=_pump, args=(server, self.connection), daemon=True)
                    back.start()
                    _pump(self.connection, server)
                    back.join()
                self.close_connection = True

            def forward(self) -> None:
                if not self._is_allowed():
                    return
                url = urlsplit(self.path)
                proxy.asked.append(url.netloc)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                connection = HTTPConnection(*target)
                path = self.path.partition(url.netloc)[2] or "/"
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                connection.request(self.command, path, body, headers)
                with connection.getresponse() as answer:
                    self.send_response_only(answer.status)
                    for name, value in answer.getheaders():
                        if name.lower() not in ("transfer-encoding", "connection"):
                            self.send_header(name, value)
                    self.send_header("Connection", "close")
                    self.end_headers()
                    shutil.copyfileobj(answer, self.wfile)
                self.close_connection = True

            def _is_allowed(self) -> bool:
                wanted = "Basic " + base64.b64encode(b"me:sesame").decode()
                if self.headers.get("Proxy-Authorization") == wanted:
                    return True
                self.send_error(407)
                return False

            def log_message(self, *_: object) -> None:
                pass

        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
            setattr(Handler, f"do_{method}", Handler.forward)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://me:sesame@127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> ConnectProxy:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
