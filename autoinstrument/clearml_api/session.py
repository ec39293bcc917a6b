"""One session with the ClearML server: bounded in time and in size, and with errors of three kinds.

The SDK's own session waits for minutes and loops for ever on 503 and on SSL errors (clearml 2.1). Here every request
has a connect and a read limit, the SDK's retries are off, and `tenacity` retries the few seconds that a hiccup takes.
Answers are read by `answers`.
"""

from __future__ import annotations

import io
import logging
import os
import random
import re
import sys
import time
from collections.abc import Callable
from typing import IO, Any
from urllib.parse import urlsplit

import tenacity

from autoinstrument.clearml_api import storable
from autoinstrument.clearml_api.deadline import Deadline, OverdueError
from autoinstrument.clearml_api.errors import (
    ClearMLError,
    InternalError,
    NotAllowedError,
    RefusedError,
    TooLargeError,
    UnavailableError,
    UnreachableError,
)
from autoinstrument.clearml_switches import refusal, switched_off
from autoinstrument.records import parse
from autoinstrument.scrubber import hint

CONNECT_S, READ_S = 3.0, 10.0
_SLOWEST_DISK = 10e6
"""Bytes a second with which a file server puts away what it has received, before it answers."""
_TRIES = 3
_DEADLINE_S = 30.0
"""For one request in all: the limits above are for one packet, and a server may send a byte every nine seconds."""
_PATIENCE_S = 2.0
"""A pause that the server asks for is kept within a call if it is shorter; else the caller is to keep it."""
_MOST_RETRY_AFTER_S = 600.0
_BEAT_S = 0.25


class Session:
    """A logged-in session; `call`, `add_events` and `upload` are all that is ever sent.

    Attributes:
        meanwhile: called some times a second, on the caller's thread, while a request is under way.
        lean: the process is ours alone, and nobody in it imports anything else while this logs in: clearml is imported
            without what is not needed.
    """

    def __init__(self, meanwhile: Callable[[], None] = lambda: None, *, lean: bool = False) -> None:
        self.meanwhile = meanwhile
        self.lean = lean
        self._beat_at = 0.0
        self._limit = Deadline("autoinstrument-request")
        self._random = random.Random()  # noqa: S311  (of its own: a worker that is a thread shares the training's)
        self._session: Any = None
        self._uploads: Any = None

    def call(self, action: str, /, **body: Any) -> dict[str, Any]:
        """Call `service.action` of the API and return the answer's data.

        Raises:
            UnavailableError, NotAllowedError, RefusedError: see there.
        """
        return self._retried(_request(action, body), action)

    def call_once(self, action: str, /, **body: Any) -> dict[str, Any]:
        """Call as `call` does, without trying again: for what must not be done twice.

        Raises:
            UnavailableError, NotAllowedError, RefusedError: see there; it may have been done all the same.
        """
        return self._once(_request(action, body), action)

    def add_events(self, events: list[dict[str, Any]]) -> int:
        """Send events in one batch and return how many of them the server took.

        Raises:
            UnavailableError, NotAllowedError, RefusedError: none was taken.
        """
        if not events:
            return 0

        batch = storable.value(events)

        def send(session: Any) -> Any:
            answers = session.send_request_batch("events", "add_batch", version=_VERSION, json=batch)
            return next((answer for answer in answers if answer.status_code != 200), answers[0])

        added = self._retried(send, "events.add_batch").get("added")
        return added if isinstance(added, int) else 0

    def ping(self) -> str:
        """Log in where that is not done yet, send one small request, and return the answer's `Date`, "" for none.

        Raises:
            UnavailableError, NotAllowedError, RefusedError: see there.
        """
        answers: list[Any] = []

        def send(session: Any) -> Any:
            answers.append(session.send_request("debug", "ping", version=_VERSION, json={}))
            return answers[-1]

        self._once(send, "debug.ping")
        return str(answers[-1].headers.get("Date", ""))

    def addresses(self) -> dict[str, str]:
        """Log in where that is not done yet, and return the servers' addresses and what names the user's key.

        Raises:
            UnavailableError, NotAllowedError: see there.
        """
        with _sdk_errors():
            session = self._connected()
            return {
                "api": str(session.get_api_server_host()),
                "web": str(session.get_app_server_host()),
                "files": str(session.get_files_server_host()),
                "key": hint(str(session.access_key or "")),
            }

    def files_server(self) -> str:
        """Return the address that files are uploaded to; it may be a storage bucket or a folder.

        Raises:
            NotAllowedError: there is no configuration.
        """
        with _sdk_errors():
            return str(type(self._connected()).get_files_server_host()).rstrip("/")

    def setting(self, name: str) -> Any:
        """Return what ClearML's configuration says under `sdk`, as in "development.default_output_uri", or None.

        Raises:
            NotAllowedError: the configuration cannot be read.
        """
        with _sdk_errors():
            _import_sdk(lean=self.lean)
            from clearml.config import config

            return config.get(name, None)

    def output_uri(self, of_task: str = "") -> str:
        """Return where artifacts are uploaded to: the Task's own place, else the configured one, else the file server.

        Raises:
            NotAllowedError: there is no configuration.
        """
        from clearml.config import DEV_DEFAULT_OUTPUT_URI

        given = of_task or str(DEV_DEFAULT_OUTPUT_URI.get() or self.setting("development.default_output_uri") or "")
        return given.rstrip("/") if given.lower() not in ("", "true", "false", "none") else self.files_server()

    def upload(self, server: str, name: str, content: bytes | IO[bytes], kind: str) -> None:
        """Upload a file to a file server in one request.

        Args:
            server: the server's address.
            name: the file's place there; it has no percent sign, which some servers decode.
            content: its bytes, or a file that is open.
            kind: its media type.

        Raises:
            UnavailableError, NotAllowedError, RefusedError: see there.
        """
        from clearml.backend_api.utils import get_http_session_with_retry
        from clearml.utilities.requests_toolbelt import MultipartEncoder

        from autoinstrument.clearml_api.http import bound

        if self._uploads is None:
            self._uploads = get_http_session_with_retry(total=0, connect=0, read=0, redirect=5, status=0)
            bound(self._uploads)

        def send(session: Any) -> Any:
            stream = io.BytesIO(content) if isinstance(content, bytes) else content
            size = stream.seek(0, io.SEEK_END)
            stream.seek(0)
            body = MultipartEncoder(fields={f"/{name}": (f"/{name}", stream, kind)})
            headers = {"Content-Type": body.content_type}
            if urlsplit(server)[:2] == urlsplit(self.files_server())[:2]:  # a token is for nobody else
                headers = session.add_auth_headers(headers)
            limits = (CONNECT_S, READ_S + size / _SLOWEST_DISK)
            return self._uploads.post(server, data=body, headers=headers, timeout=limits)

        size = len(content) if isinstance(content, bytes) else content.seek(0, io.SEEK_END)
        self._retried(send, f"upload to {urlsplit(server).netloc}", _DEADLINE_S + 10 * size / _SLOWEST_DISK)

    def pause(self, seconds: float) -> None:
        """Wait; `meanwhile` is called as during a request."""
        self._sleep(seconds)

    def web_page(self, task_id: str, project_id: str) -> str:
        """Return the address of the Task's page, as the SDK itself prints it; "" where no web server is known."""
        from clearml.backend_interface.task import Task

        return str(Task.get_task_output_log_web_page(task_id=task_id, project_id=project_id))

    def _retried(self, send: Any, action: str, deadline_s: float = _DEADLINE_S) -> dict[str, Any]:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(
                lambda error: isinstance(error, (_HiccupError, InternalError)) and error.retry_after_s <= _PATIENCE_S
            ),
            stop=tenacity.stop_after_attempt(_TRIES),
            wait=self._pause_s,
            sleep=self._sleep,
            reraise=True,
        )
        return retrying(self._once, send, action, deadline_s)

    def _pause_s(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked_s = error.retry_after_s if isinstance(error, UnavailableError) else 0.0
        return max(asked_s, self._random.uniform(0.1, 0.2 * 2**state.attempt_number))

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._beat()
            time.sleep(min(left, _BEAT_S))

    def _beat(self) -> None:
        self._beat_at = time.monotonic()
        self.meanwhile()

    def _within_deadline(self, send: Any, action: str, deadline_s: float) -> Any:
        """Return what `send` returns for a session that is logged in; it works on a thread of its own.

        Raises:
            UnavailableError: it took too long; the thread is left to itself, and so is the session.
            Exception: what `send` raised.
        """
        if time.monotonic() - self._beat_at > _BEAT_S:  # requests may be short and many
            self._beat()
        try:
            return self._limit.do(lambda: send(self._connected()), deadline_s, tick_s=_BEAT_S, tick=self._beat)
        except OverdueError as error:
            self._session = self._uploads = None
            raise UnavailableError(f"{action}: {error}") from None

    def _once(self, send: Any, action: str, deadline_s: float = _DEADLINE_S) -> dict[str, Any]:
        import requests

        from autoinstrument.clearml_api.http import OverlongError

        try:
            answer = self._within_deadline(send, action, deadline_s)
        except ClearMLError:
            raise
        except OverlongError as error:
            raise TooLargeError(f"{action}: {error}") from error
        except requests.exceptions.ConnectionError as error:
            # Refused at once: nothing listens, and trying again in half a second finds nothing either.
            raise (UnreachableError if _is_refused(error) else _HiccupError)(f"{action}: {_reason(error)}") from error
        except requests.exceptions.Timeout as error:
            raise UnavailableError(f"{action}: no answer within {READ_S:.0f} s") from error
        except requests.exceptions.RequestException as error:
            raise _HiccupError(f"{action}: {_reason(error)}") from error
        except Exception as error:  # LoginError, when the token was renewed
            raise _login_problem(error) from error
        return _data(answer, action)

    def _connected(self) -> Any:
        if self._session is None:
            with _sdk_errors():
                self._session = _log_in(lean=self.lean)
        return self._session


def _request(action: str, body: dict[str, Any]) -> Callable[[Any], Any]:
    """Return what sends one call over a session; whatever is in it is made storable here."""
    service, _, name = action.partition(".")
    fit = storable.value(body)
    return lambda session: session.send_request(service, name, version=_VERSION, json=fit)


class _HiccupError(UnavailableError):
    """Worth trying again at once."""


_VERSION = "2.23"
"""Version of the API in the path of a request, as clearml 2.1 sends it; servers take any that they know."""


class _sdk_errors:  # noqa: N801  (reads as a statement)
    """Turn what the SDK raises while it reads its configuration and logs in into errors of ours."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, ClearMLError):
            raise _login_problem(error) from error


def _import_sdk(*, lean: bool) -> None:
    # Nothing here needs pandas (0.3 s, 40 MB), nor pyarrow, which `clearml.datasets` looks for (29 MB; clearml 2.1).
    # Elsewhere than in a process of ours another thread's import of them would fail meanwhile.
    keep_out = [name for name in ("pandas", "pyarrow") if lean and name not in sys.modules]
    for name in keep_out:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        import clearml.backend_api  # noqa: F401
    finally:
        for name in keep_out:
            del sys.modules[name]
    logging.getLogger("clearml").setLevel(logging.ERROR)


def _log_in(*, lean: bool) -> Any:
    if switch := switched_off():
        raise NotAllowedError(f"{refusal(switch)}; unset it to go on")
    _import_sdk(lean=lean)
    import requests
    from clearml.backend_api import Session as SDKSession
    from clearml.config import config_obj

    from autoinstrument.clearml_api.http import bound

    class Bounded(SDKSession):  # type: ignore[misc]
        # Class attributes of the SDK's session, seen in clearml 1.16 and 2.1: (connect, read) limits in seconds.
        _session_initial_timeout = (CONNECT_S, READ_S)
        _session_timeout = (CONNECT_S, READ_S)
        _write_session_timeout = (CONNECT_S, READ_S)

        def refresh_token(self) -> None:
            # The first thing that it asks the server; its HTTP session, which has a private name, was made before.
            for made in [value for value in vars(self).values() if isinstance(value, requests.Session)]:
                bound(made)
            super().refresh_token()

    config_obj.set_overrides({"api": {"http": {"wait_on_maintenance_forever": False}}})
    return Bounded(http_retries_config={"total": 0, "connect": 0, "read": 0, "redirect": 5, "status": 0})


def _data(answer: Any, action: str) -> dict[str, Any]:
    try:
        body = parse(answer.content)
    except ValueError:
        body = None
    meta, data = (body.get(part) if isinstance(body, dict) else None for part in ("meta", "data"))
    meta = meta if isinstance(meta, dict) else {}
    status = answer.status_code
    if status == 200:
        if not isinstance(body, (dict, list)):  # file servers answer with a list
            raise UnavailableError(f"{action}: what answers is no ClearML server")
        return data if isinstance(data, dict) else {}
    text = " ".join(f"{action}: {status} {str(meta.get('result_msg') or answer.reason)[:500]}".split())[:500]
    if status in (401, 403):
        raise NotAllowedError(text)
    subcode = meta.get("result_subcode")
    subcode = subcode if isinstance(subcode, int) else 0
    if status == 500 and meta:
        raise _internal_error(text, subcode, _retry_after_s(answer))
    if status in (408, 425, 429) or status >= 500:
        raise _HiccupError(text, _retry_after_s(answer))
    raise RefusedError(text, (status, subcode))


_CANNOT_STORE = re.compile(
    "surrogates not allowed|8-byte ints|NULL byte|document too large|document after update is larger|nested", re.I
)
"""What pymongo and MongoDB say of a document that they will never take."""
_NOT_INDEXED = "failed to index"
"""What the event index says of single events."""
_PASSING = re.compile(
    "connection|time-?out|timed out|unavailable|not primary|not master|read-only|rejected execution|not active", re.I
)
"""What the databases say while they are restarted, overloaded, or out of disk space; events then fail to index too."""
_LOW_DISK_SPACE, _INCONSISTENT, _DATABASE_UNAVAILABLE = 4, 101, 102


def _internal_error(text: str, subcode: int, retry_after_s: float) -> ClearMLError:
    """Return what a 500 of ClearML's API means; it is the answer to every exception in the server (API 2.34)."""
    if subcode == _INCONSISTENT or _CANNOT_STORE.search(text):
        return RefusedError(text, (500, subcode))
    if subcode in (_LOW_DISK_SPACE, _DATABASE_UNAVAILABLE) or _PASSING.search(text):
        return _HiccupError(text, retry_after_s)
    if _NOT_INDEXED in text:
        return RefusedError(text, (500, subcode))
    return InternalError(text, retry_after_s)


def _retry_after_s(answer: Any) -> float:
    """Return the pause that a server asks for (RFC 9110, 10.2.3); a date counts as a minute."""
    asked = answer.headers.get("Retry-After", "").strip()
    if not asked:
        return 0.0
    return min(float(asked), _MOST_RETRY_AFTER_S) if asked.isdecimal() else 60.0


def _login_problem(error: Exception) -> ClearMLError:
    """Classify what came out of logging in: the SDK wraps everything into a `LoginError` (clearml 1.16 and 2.1)."""
    import requests

    from autoinstrument.clearml_api.http import UnreadableError

    text = " ".join(str(error).split())
    if type(error).__name__ == "MissingConfigError":
        return NotAllowedError("no ClearML credentials are configured (run `clearml-init` or set CLEARML_API_*)")
    if "error 401" in text or "error 403" in text:
        return NotAllowedError("the ClearML server does not accept the credentials (see clearml.conf or CLEARML_API_*)")
    cause = error.__context__
    if isinstance(cause, UnreadableError):
        return UnavailableError(f"{_host()}: {cause}")
    if isinstance(cause, requests.exceptions.RequestException):
        kind = UnreachableError if _is_refused(cause) else UnavailableError
        return kind(f"no answer from {_host()}: {_reason(cause)}")
    if status := re.search(r"\berror (5\d\d|429)\b", text):
        return _HiccupError(f"no answer from {_host()}: HTTP status {status[1]}")
    return NotAllowedError(f"cannot log in to ClearML: {text[:300]}")


def _is_refused(error: Exception) -> bool:
    return "refused" in str(error).lower() or "name or service" in str(error).lower()


def _reason(error: Exception) -> str:
    """Return in a few words why a connection failed; the SDK's HTTP client says it in a nest of six exceptions."""
    import requests

    from autoinstrument.clearml_api.http import UnreadableError

    if isinstance(error, UnreadableError):
        return str(error)
    if _is_refused(error):
        return "connection refused" if "refused" in str(error).lower() else "unknown host"
    if isinstance(error, requests.exceptions.Timeout):
        return "timed out"
    return type(error).__name__


def _host() -> str:
    try:
        from clearml.backend_api import Session as SDKSession

        return str(SDKSession.get_api_server_host())
    except Exception:  # the configuration itself may be what is broken; the address is only for the message
        return os.environ.get("CLEARML_API_HOST", "the ClearML server")
