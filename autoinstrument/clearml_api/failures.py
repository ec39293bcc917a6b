"""Turn the exception of a request or of a login that got no usable response into one of `errors`."""

from __future__ import annotations

import re

from autoinstrument.clearml_api import sdk
from autoinstrument.clearml_api.errors import (
    ClearMLError,
    HiccupError,
    NotAllowedError,
    TooLargeError,
    UnavailableError,
    UnreachableError,
)


def request_failure(error: Exception, action: str) -> ClearMLError:
    """Return the error of a request, given the exception that it raised."""
    import requests

    from autoinstrument.clearml_api.http import OverlongError

    if isinstance(error, OverlongError):
        return TooLargeError(f"{action}: {error}")
    if isinstance(error, requests.exceptions.ConnectionError):
        # If nothing listens, another attempt half a second later finds nothing either.
        return (UnreachableError if _is_refused(error) else HiccupError)(f"{action}: {_reason(error)}")
    if isinstance(error, requests.exceptions.Timeout):
        return UnavailableError(f"{action}: no answer within {sdk.READ_S:.0f} s")
    if isinstance(error, requests.exceptions.RequestException):
        return HiccupError(f"{action}: {_reason(error)}")
    return login_failure(error)  # the token was being renewed


def login_failure(error: Exception) -> ClearMLError:
    """Return the error of a login, given the exception that the SDK raised: a `LoginError` for nearly everything."""
    import requests

    from autoinstrument.clearml_api.http import UnreadableError

    if sdk.has_no_credentials(error):
        return NotAllowedError("no ClearML credentials are configured (run `clearml-init` or set CLEARML_API_*)")
    text, host = " ".join(str(error).split()), sdk.configured_api_server()
    if "error 401" in text or "error 403" in text:
        return NotAllowedError("the ClearML server does not accept the credentials (see clearml.conf or CLEARML_API_*)")
    cause = error.__context__
    if isinstance(cause, UnreadableError):
        return UnavailableError(f"{host}: {cause}")
    if isinstance(cause, requests.exceptions.RequestException):
        kind = UnreachableError if _is_refused(cause) else UnavailableError
        return kind(f"no answer from {host}: {_reason(cause)}")
    if status := re.search(r"\berror (5\d\d|429)\b", text):
        return HiccupError(f"no answer from {host}: HTTP status {status[1]}")
    if "error 404" in text:
        return UnreachableError(
            f"{host} is not a ClearML API server (404): check CLEARML_API_HOST; its port is 8008 by default, and "
            "8080 is that of the web pages"
        )
    # A gateway may answer instead of a server that restarts, with another status, or with a page and status 200.
    problem = f"cannot log in to ClearML: {text[:300]}"
    return UnreachableError(problem) if sdk.is_answered(error) else NotAllowedError(problem)


_UNKNOWN_HOST = re.compile("name or service|no address associated|name resolution", re.I)
"""In messages of the resolver (glibc and musl): no such name, a name without an address, no server of names."""
_OF_SYSTEM = re.compile(r"\[Errno \d+\] (\w[\w ]*)")


def _is_refused(error: Exception) -> bool:
    text = str(error)
    return "refused" in text.lower() or _UNKNOWN_HOST.search(text) is not None


def _reason(error: Exception) -> str:
    """Return in a few words why a connection failed; the HTTP library nests it in six exceptions."""
    import requests

    from autoinstrument.clearml_api.http import UnreadableError

    if isinstance(error, UnreadableError):
        return str(error)
    if _is_refused(error):
        return "connection refused" if "refused" in str(error).lower() else "unknown host"
    if isinstance(error, requests.exceptions.Timeout):
        return "timed out"
    known = _OF_SYSTEM.search(str(error))
    return known[1].lower() if known else type(error).__name__
