"""Why a request or a login got no response, in one line."""

from __future__ import annotations

import pytest
import requests

from autoinstrument.clearml_api.errors import (
    ClearMLError,
    HiccupError,
    NotAllowedError,
    TooLargeError,
    UnavailableError,
    UnreachableError,
)
from autoinstrument.clearml_api.failures import login_failure, request_failure
from autoinstrument.clearml_api.http import OverlongError, UnreadableError

E = requests.exceptions


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (E.ConnectionError("[Errno 111] Connection refused"), UnreachableError, "a.b: connection refused"),
        (E.ConnectionError("Name or service not known"), UnreachableError, "a.b: unknown host"),
        (E.ConnectionError("[Errno -3] Temporary failure in name resolution"), UnreachableError, "a.b: unknown host"),
        (E.ConnectionError("x: [Errno 113] No route to host')))"), HiccupError, "a.b: no route to host"),
        (E.ConnectionError("Remote end closed connection"), HiccupError, "a.b: ConnectionError"),
        (E.ConnectTimeout("x"), HiccupError, "a.b: timed out"),
        (E.ReadTimeout("x"), UnavailableError, "a.b: no answer within 10 s"),
        (E.ChunkedEncodingError("x"), HiccupError, "a.b: ChunkedEncodingError"),
        (UnreadableError("it cannot be unpacked"), HiccupError, "a.b: it cannot be unpacked"),
        (OverlongError("too long"), TooLargeError, "a.b: too long"),
    ],
)
def test_requests(error: Exception, kind: type[ClearMLError], text: str) -> None:
    found = request_failure(error, "a.b")
    assert (type(found), str(found)) == (kind, text)


class MissingConfigError(Exception):
    """Named as the SDK's."""


class LoginError(Exception):
    """Named as the SDK's."""


def caused(error: Exception, cause: Exception) -> Exception:
    error.__context__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (MissingConfigError(), NotAllowedError, "no ClearML credentials are configured"),
        (LoginError("Failed getting token (error 401 from http://h)"), NotAllowedError, "does not accept"),
        (LoginError("Failed getting token (error 503 from http://h)"), HiccupError, "no answer from http://h: HTTP"),
        (caused(LoginError("x"), E.ConnectionError("refused")), UnreachableError, "http://h: connection refused"),
        (caused(LoginError("x"), E.ConnectionError("closed")), UnavailableError, "no answer from http://h"),
        (caused(LoginError("x"), UnreadableError("no TLS there")), UnavailableError, "http://h: no TLS there"),
        (
            LoginError("Failed getting token (error 404 from http://h)"),
            UnreachableError,
            "http://h is not a ClearML API server",
        ),
        (LoginError("Failed getting token (error 405 from http://h)"), UnreachableError, "(error 405 from http://h)"),
        (ValueError("It seems *api_server* is misconfigured"), UnreachableError, "*api_server* is misconfigured"),
        (LoginError("some\nother"), UnreachableError, "cannot log in to ClearML: some other"),
        (ValueError("host was not set"), NotAllowedError, "cannot log in to ClearML: host was not set"),
    ],
)
def test_logins(error: Exception, kind: type[ClearMLError], text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARML_API_HOST", "http://h")
    for found in (login_failure(error), request_failure(error, "a.b")):
        assert type(found) is kind
        assert text in str(found)
        assert "\n" not in str(found)
