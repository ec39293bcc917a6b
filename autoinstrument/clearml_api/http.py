"""Bound the size of HTTP responses, and what a request costs: every response of ClearML's servers is read here.

`requests` reads a response to its end and decompresses it in memory: a server that never stops, or a few kilobytes of
gzip, would fill the memory of the worker. It also decompresses what was compressed twice, a million times the size.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter
from urllib3.exceptions import ProtocolError, SSLError
from urllib3.util import Retry

MOST = 64 * 2**20
"""Bytes of one response, compressed or not. ClearML's database keeps 16 MB of a Task, which are up to 48 as JSON."""
_BLOCK = 2**14
_CERTIFICATE = {
    "certificate has expired": "its certificate has expired",
    "certificate is not yet valid": "its certificate is not valid yet",
    "mismatch, certificate is not valid for": "its certificate is that of another host",
}
"""What is wrong with a certificate, by parts of OpenSSL's messages (1.1 to 3.5)."""


class UnreadableError(requests.RequestException):
    """A response cannot be read; the text says why."""


class OverlongError(UnreadableError):
    """A response has more than `MOST` bytes, and was not read any further."""


def bound(session: requests.Session) -> None:
    """Let a session read no more than `MOST` bytes of a response, never retry by itself, and look up proxies once.

    Calling it again changes nothing.
    """
    if not isinstance(session.merge_environment_settings, _EnvironmentSettings):
        vars(session)["merge_environment_settings"] = _EnvironmentSettings(session.merge_environment_settings)
    for prefix, adapter in list(session.adapters.items()):
        if not isinstance(adapter, _Bounded):
            # If urllib3 retried a response (429, 503), it would read it to its end first, however long it is, and the
            # response's Retry-After would be lost (urllib3 1.26 to 2.8).
            adapter.max_retries = Retry(0, read=False)  # type: ignore[attr-defined]
            session.mount(prefix, _Bounded(adapter))


class _EnvironmentSettings:
    """A session's proxies and certificates, which are looked up once for each server.

    `requests` decodes all variables of the process twice for each request (2.28 to 2.34): a fifth of its CPU time if
    there are eighty, and a Kubernetes pod may have hundreds.
    """

    def __init__(self, look_up: Callable[..., Any]) -> None:
        self._look_up = look_up
        self._known: dict[tuple[Any, ...], Any] = {}

    def __call__(self, url: str, proxies: dict[str, str] | None, *others: Any) -> Any:
        if proxies:
            return self._look_up(url, proxies, *others)
        key = (*urlsplit(url)[:2], *others)
        if key not in self._known:
            self._known[key] = self._look_up(url, proxies, *others)
        return {**self._known[key], "proxies": dict(self._known[key]["proxies"])}


class _Bounded(BaseAdapter):
    """An adapter whose responses are read here, and which raises no exception that the SDK retries.

    The SDK retries errors of TLS, of decompression and of a connection that breaks half-way ten times a second, for
    ever (clearml 1.16 to 2.1.12).
    """

    def __init__(self, adapter: BaseAdapter) -> None:
        super().__init__()
        self._adapter = adapter

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        request.headers["Accept-Encoding"] = "gzip"
        try:
            answer = self._adapter.send(request, *args, **kwargs)
        except requests.exceptions.SSLError as error:
            raise UnreadableError(_tls_problem(str(error))) from error
        raw: Any = answer.raw
        raw.stream = lambda *_, **__: _unpacked(raw)  # by which `requests` reads a body
        return answer

    def close(self) -> None:
        self._adapter.close()


def _tls_problem(text: str) -> str:
    if "CERTIFICATE_VERIFY_FAILED" not in text:
        return "no TLS there"
    known = (problem for words, problem in _CERTIFICATE.items() if words in text)
    return next(known, "its certificate is not trusted here")


def _unpacked(raw: Any) -> Iterator[bytes]:
    """Yield the body of a response of urllib3's; if it is not read to its end, the connection is closed.

    urllib3's own `stream` is not used: it reads a chunk's length from a line that may have any length.
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
