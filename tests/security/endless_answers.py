"""Sessions with servers that never stop; run by test_any_answer.py, prints "done" if each was an error of one line."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import resource
import socket
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.security.answers import LOGIN

MIB = 2**20
OK = b"HTTP/1.1 200 OK\r\n"
ZEROS = b" " * 65_536


def gzip(*parts: bytes) -> Iterable[bytes]:
    """Yield the packed parts, and the last one again and again."""
    packer = zlib.compressobj(9, wbits=31)
    yield packer.compress(b" ") + packer.flush(zlib.Z_FULL_FLUSH)
    packed = [packer.compress(part) + packer.flush(zlib.Z_FULL_FLUSH) for part in parts]
    yield from packed
    yield from itertools.repeat(packed[-1] * 16)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


ANSWERS: dict[str, Callable[[], Iterable[bytes]]] = {
    "no length": lambda: itertools.chain([OK + b"\r\n"], itertools.repeat(ZEROS)),
    "a long length": lambda: itertools.chain([OK + b"Content-Length: 99999999999\r\n\r\n"], itertools.repeat(ZEROS)),
    "chunks": lambda: itertools.chain([OK + b"Transfer-Encoding: chunked\r\n\r\n"], itertools.repeat(chunk(ZEROS))),
    "gzip": lambda: itertools.chain([OK + b"Content-Encoding: gzip\r\n\r\n"], gzip(b" " * MIB)),
    "gzip in chunks": lambda: itertools.chain(
        [OK + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"], map(chunk, gzip(b" " * MIB))
    ),
    "unavailable": lambda: itertools.chain([b"HTTP/1.1 503 No\r\nRetry-After: 9\r\n\r\n"], itertools.repeat(ZEROS)),
    "elsewhere": lambda: itertools.chain([b"HTTP/1.1 302 No\r\nLocation: /\r\n\r\n"], itertools.repeat(ZEROS)),
}
"""Answers that are over the limit, and go on."""
OTHERS: dict[str, Callable[[], Iterable[bytes]]] = {
    "packed twice": lambda: itertools.chain([OK + b"Content-Encoding: gzip, gzip\r\n\r\n"], gzip(b" " * MIB)),
    "packed otherwise": lambda: itertools.chain([OK + b"Content-Encoding: zstd\r\n\r\n"], itertools.repeat(ZEROS)),
    "packed badly": lambda: itertools.chain([OK + b"Content-Encoding: gzip\r\n\r\n"], itertools.repeat(ZEROS)),
    "a chunk's length": lambda: itertools.chain([OK + b"Transfer-Encoding: chunked\r\n\r\n"], itertools.repeat(b"00")),
    "a header": lambda: itertools.chain([OK + b"Server: "], itertools.repeat(ZEROS)),
    "headers": lambda: itertools.chain([OK], itertools.repeat(b"Server: x\r\n" * 999)),
    "cut off": lambda: [OK + b"Transfer-Encoding: chunked\r\n\r\n", chunk(ZEROS)],
}  # fmt: skip
"""Answers that are refused for another reason."""

response: Iterable[bytes] = []
WELL = [OK + b"Content-Length: %d\r\n\r\n" % len(LOGIN) + LOGIN]
login: Iterable[bytes] = WELL


def serve(connection: socket.socket) -> None:
    """Answer the requests of a connection; nothing but a login's answer lets it go on."""
    with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
        while request := stream.readline():
            length = 0
            while (line := stream.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            stream.read(length)
            is_login = b"auth.login" in request
            for data in login if is_login else response:
                connection.sendall(data)
            if not (is_login and login is WELL):
                return


listener = socket.create_server(("127.0.0.1", 0))
address = f"http://127.0.0.1:{listener.getsockname()[1]}"


def accept() -> None:
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


threading.Thread(target=accept, daemon=True).start()
for name in ("API", "WEB", "FILES"):
    os.environ[f"CLEARML_{name}_HOST"] = address
os.environ |= {"CLEARML_API_ACCESS_KEY": "k", "CLEARML_API_SECRET_KEY": "s", "CLEARML_CONFIG_FILE": "/nowhere"}

from autoinstrument.clearml_api import http  # noqa: E402  (the SDK reads the variables when imported)
from autoinstrument.clearml_api.errors import TooLargeError, UnavailableError  # noqa: E402
from autoinstrument.clearml_api.file_uploads import FileServer  # noqa: E402
from autoinstrument.clearml_api.session import Session  # noqa: E402


def error_of(call: Callable[[], object]) -> UnavailableError:
    """Return the error that a call has to raise: of one line, in seconds, by the thread that has read the answer.

    The seconds are of CPU time, on a busy machine too; the wait for a thread that goes on reading would be in the text.
    """
    began = time.process_time()
    with pytest.raises(UnavailableError) as raised:
        call()
    took_s, text = time.process_time() - began, str(raised.value)
    assert "\n" not in text, text
    assert len(text) < 200, text
    assert took_s < 20, text
    assert "no answer within" not in text, text
    print(f"{took_s:.2f} CPU s {text}", file=sys.stderr)
    return raised.value


def memory() -> int:
    """Return the peak of this process's memory, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


session = Session()
session.login.addresses()
before = memory()
# A missing limit must not take the machine's memory.
now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 1024 * MIB, now + 1024 * MIB))

for name, answer in ANSWERS.items():
    response = answer()
    assert isinstance(error_of(lambda: session.call("tasks.get_all")), TooLargeError), name
http.MOST, response = 4 * MIB, itertools.chain([OK + b"Content-Encoding: gzip\r\n\r\n"], gzip(b""))
assert isinstance(error_of(lambda: session.call("tasks.get_all")), TooLargeError), "packed, it is nothing without end"
http.MOST, response = 64 * MIB, ANSWERS["gzip"]()
assert isinstance(
    error_of(lambda: FileServer(session).upload(address, "name", io.BytesIO(b"content"), "text/plain")), TooLargeError
)
for name, answer in OTHERS.items():
    response = answer()
    assert not isinstance(error_of(lambda: session.call_once("tasks.get_all")), TooLargeError), name
for answer in (ANSWERS["gzip"], OTHERS["a header"]):
    login = answer()
    error_of(Session().login.addresses)
grown = memory() - before
assert grown < 256, f"{grown} MiB"

response, login = [b"HTTP/1.1 429 No\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n"], WELL
assert error_of(lambda: session.call("tasks.get_all")).retry_after_s == 30, "the pause that the server asks for is kept"
print(f"grown by {grown} MiB; done")
sys.stdout.flush()
os._exit(0)  # threads of the SDK
