"""A gateway before a ClearML server that closes connections which are kept open, and does not announce it."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Iterator
from types import TracebackType

_RESET = struct.pack("ii", 1, 0)
_DATA = 2**16


class IdleGateway:
    """A TCP proxy for HTTP requests.

    Args:
        port: port of the server on this machine.
        idle_s: seconds after a response until its connection is closed.
        resets: it is reset, and not only closed.

    Attributes:
        url: its address.
        lost: number of requests that it has not passed on.
        together: waited for before each response, so that so many requests are under way at once; None for any number.
    """

    def __init__(self, port: int, *, idle_s: float = 60.0, resets: bool = False) -> None:
        self._port, self._idle_s, self._resets = port, idle_s, resets
        self.lost = 0
        self.together: threading.Barrier | None = None
        self._forgotten = self._accepted = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> IdleGateway:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def forget(self) -> None:
        """Forget the present connections: each is closed when the next request arrives on it, which is lost."""
        self._forgotten = self._accepted

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it is over
            while True:
                client, _ = self._listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._accepted += 1
                threading.Thread(target=self._serve, args=(client, self._accepted), daemon=True).start()

    def _serve(self, client: socket.socket, number: int) -> None:
        with client, socket.create_connection(("127.0.0.1", self._port)) as server, contextlib.suppress(OSError):
            requests, responses = _messages(client), _messages(server)
            while request := next(requests, b""):
                server.sendall(request)
                response = next(responses, b"")
                if self.together is not None:
                    self.together.wait()
                client.sendall(response)
                if not select.select([client], [], [], self._idle_s)[0]:
                    break
                if number <= self._forgotten:
                    self.lost += bool(client.recv(1))
                    break
            if self._resets:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def _messages(sock: socket.socket) -> Iterator[bytes]:
    """Yield requests or responses as they came, each with its body; their length is known."""
    came = b""
    while True:
        while b"\r\n\r\n" not in came:
            if not (data := sock.recv(_DATA)):
                return
            came += data
        head, _, _ = came.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        size = len(head) + 4 + length
        while len(came) < size:
            came += sock.recv(_DATA)
        yield came[:size]
        came = came[size:]
