"""Answers over HTTP, bounded in size: the way in for all that ClearML's servers say.

`requests` takes in whatever comes and unpacks it in memory: a server that never stops, or a few kilobytes of gzip,
would fill the memory of the worker. Its readers may also unpack what was packed twice, a million times what came.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import requests
from requests.adapters import BaseAdapter
from urllib3.exceptions import ProtocolError, SSLError
from urllib3.util import Retry

MOST = 64 * 2**20
"""Bytes of one answer, packed or unpacked. ClearML's database keeps 16 MB of a Task, which are up to 48 as JSON."""
_BLOCK = 2**14


class UnreadableError(requests.RequestException):
    """An answer is not one that is read; the text says why."""


class OverlongError(UnreadableError):
    """An answer has more than `MOST` bytes; no more than these were taken in."""


def bound(session: requests.Session) -> None:
    """Let a session take in no larger answer than `MOST`, and try nothing again by itself; all else about it stays.

    Doing it again changes nothing.
    """
    for prefix, adapter in list(session.adapters.items()):
        if not isinstance(adapter, _Bounded):
            # With these an answer that urllib3 would try again (429, 503) is read to its end first, however long it is,
            # and its Retry-After is lost (urllib3 1.26 to 2.8).
            adapter.max_retries = Retry(0, read=False)  # type: ignore[attr-defined]
            session.mount(prefix, _Bounded(adapter))


class _Bounded(BaseAdapter):
    """An adapter whose answers are read here, and which raises nothing that the SDK takes for a reason to go on.

    On errors of TLS, of packing and of a connection that is cut half-way it tries again ten times a second, without end
    (clearml 1.16 to 2.1.12).
    """

    def __init__(self, adapter: BaseAdapter) -> None:
        super().__init__()
        self._adapter = adapter

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        request.headers["Accept-Encoding"] = "gzip"
        try:
            answer = self._adapter.send(request, *args, **kwargs)
        except requests.exceptions.SSLError as error:
            is_distrusted = "CERTIFICATE_VERIFY_FAILED" in str(error)
            raise UnreadableError("its certificate is not trusted here" if is_distrusted else "no TLS there") from error
        raw: Any = answer.raw
        raw.stream = lambda *_, **__: _unpacked(raw)  # by which `requests` reads a body
        return answer

    def close(self) -> None:
        self._adapter.close()


def _unpacked(raw: Any) -> Iterator[bytes]:
    """Yield the body of a response of urllib3's; where it is not read to its end, the connection is closed.

    Not by urllib3's `stream`: of a chunked body that reads the line with a chunk's length as long as it may be.
    """
    packing = (raw.headers.get("Content-Encoding") or "identity").strip().lower()
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32) if packing in ("gzip", "x-gzip", "deflate") else None
    came = given = 0
    is_whole = False
    try:
        if unpacker is None and packing != "identity":
            raise UnreadableError(f"the answer is packed as {packing[:40]!r}, which was not asked for")
        while block := raw.read(_BLOCK, decode_content=False):
            came += len(block)
            if unpacker is not None:
                block = unpacker.decompress(block, MOST + 1 - given)
            given += len(block)
            if max(came, given) > MOST:
                raise OverlongError(f"the answer is over {MOST >> 20} MiB, and is not read")
            if block:
                yield block
        is_whole = True
    except zlib.error as error:
        raise UnreadableError("the answer cannot be unpacked") from error
    except (ProtocolError, SSLError) as error:
        raise requests.ConnectionError(error) from error
    finally:
        if not is_whole:
            raw.close()
