"""The parts of the ClearML SDK that this package uses, one function each; several of them are private.

All were seen in clearml 1.16 to 2.1.12. clearml is imported when a function is called, not with this module. The few
parts that integrations use in the training process are in `integrations/clearml_internals.py`.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Any

from autoinstrument.clearml_api import lean_import

CONNECT_S, READ_S = 3.0, 10.0
"""Time limits of a connection and of one read from it, in seconds."""
_CONNECTIONS = 64
"""Connections to keep open, more than there are threads. The SDK makes room for 512, which takes 2 ms."""
_API_VERSION = "2.23"
"""Version of the API in the path of a request, as clearml 2.1 sends it; servers take any version that they know."""

_WAITS_FOR_EVER = "api.http.wait_on_maintenance_forever"


def load(*, lean: bool) -> None:
    """Import the SDK, and read its configuration.

    Args:
        lean: leave out what is not used here, see `lean_import.prepare`.

    Raises:
        Exception: it is not installed, or fails: clearml 2.1 raises a ValueError for some values of its variables.
    """
    if lean:
        lean_import.prepare()
    import clearml.backend_api  # noqa: F401

    logging.getLogger("clearml").setLevel(logging.ERROR)
    with contextlib.suppress(Exception):  # whoever needs a value reports why the configuration cannot be read
        from clearml.config import config_obj

        config_obj.get("api", None)  # it is kept: two threads that need it first would parse all files twice (0.1 s)


def log_in() -> Any:
    """Return a session of the SDK that is logged in, never retries, and reads no unbounded response.

    Raises:
        Exception: whatever the SDK raises; see `failures.login_failure`.
    """
    import requests
    from clearml.backend_api import Session
    from clearml.config import config_obj

    from autoinstrument.clearml_api.http import bound

    class BoundedSession(Session):  # type: ignore[misc]
        _session_initial_timeout = (CONNECT_S, READ_S)
        _session_timeout = (CONNECT_S, READ_S)
        _write_session_timeout = (CONNECT_S, READ_S)

        def refresh_token(self) -> None:
            # The SDK's HTTP session has a private name. It exists here, and has not sent anything yet.
            for made in [value for value in vars(self).values() if isinstance(value, requests.Session)]:
                bound(made)
            super().refresh_token()

    if config_obj.get(_WAITS_FOR_EVER, True):  # on 503 and errors of TLS
        _configure(config_obj, "api", "http.wait_on_maintenance_forever", False)
    return BoundedSession(
        # The SDK's own way to find a logger looks for the file of each loaded module: 25 ms of CPU.
        logger=logging.getLogger("clearml.session"),
        http_retries_config={
            "total": 0, "connect": 0, "read": 0, "redirect": 5, "status": 0, "pool_maxsize": _CONNECTIONS
        },
    )  # fmt: skip


def _configure(config: Any, section: str, name: str, value: Any) -> None:
    """Set a value of the configuration; the SDK's own `set_overrides` parses all files again (0.15 s)."""
    tree = config.get(section, None)
    if hasattr(tree, "put"):
        tree.put(name, value)
    else:
        config.set_overrides({section: {name: value}})


def send(session: Any, action: str, body: Any) -> Any:
    """Send one request, `action` being "service.name", and return the HTTP response."""
    service, _, name = action.partition(".")
    return session.send_request(service, name, version=_API_VERSION, json=body)


def send_batch(session: Any, action: str, items: list[Any]) -> list[Any]:
    """Send items as one batch request, which the SDK cuts where it is too large, and return the HTTP responses."""
    service, _, name = action.partition(".")
    responses: list[Any] = session.send_request_batch(service, name, version=_API_VERSION, json=items)
    return responses


def with_token(session: Any, headers: dict[str, str]) -> dict[str, str]:
    """Return HTTP headers with the session's token added."""
    found: dict[str, str] = session.add_auth_headers(headers)
    return found


def addresses(session: Any) -> tuple[str, str, str]:
    """Return the addresses of the API server, the web server and the file server."""
    return str(session.get_api_server_host()), str(session.get_app_server_host()), files_address(session)


def files_address(session: Any) -> str:
    """Return the address of the file server, which may be a storage bucket or a folder."""
    return str(session.get_files_server_host())


def access_key(session: Any) -> str:
    """Return the access key that the session has logged in with, "" if it used a token."""
    return str(session.access_key or "")


def configured_api_server() -> str:
    """Return the address of the API server that the configuration names, whether or not one can log in there."""
    try:
        from clearml.backend_api import Session

        return str(Session.get_api_server_host())
    except Exception:  # the configuration itself may be broken, and the address is only for a message
        return os.environ.get("CLEARML_API_HOST", "the ClearML server")


def configured(name: str) -> Any:
    """Return a value of the configuration's section `sdk`, as "development.default_output_uri"; None if not set."""
    from clearml.config import config

    return config.get(name, None)


def default_output_uri() -> str:
    """Return the storage that a variable or the configuration sets for artifacts, "" if neither does."""
    from clearml.config import DEV_DEFAULT_OUTPUT_URI

    return str(DEV_DEFAULT_OUTPUT_URI.get() or configured("development.default_output_uri") or "")


def task_page(task_id: str, project_id: str) -> str:
    """Return the address of a Task's page, as the SDK (2.1) prints it; "" if no web server is known."""
    from clearml.backend_api import Session

    page = "tasks" if Session.check_min_api_server_version("2.31") else "experiments"
    return f"{str(Session.get_app_server_host()).rstrip('/')}/projects/{project_id or '*'}/{page}/{task_id}/output/log"


def models_have_events() -> bool:
    """Return True if the server takes points of models: API 2.23, as the SDK (1.9 to 2.1) asks before it sends any."""
    from clearml.backend_api import Session

    return bool(Session.check_min_api_server_version("2.23"))


def new_http_session() -> Any:
    """Return an HTTP session with the certificates and proxies of the configuration, which never retries."""
    from clearml.backend_api.utils import get_http_session_with_retry

    from autoinstrument.clearml_api.http import bound

    session = get_http_session_with_retry(total=0, connect=0, read=0, redirect=5, status=0)
    bound(session)
    return session


def multipart(fields: dict[str, Any]) -> Any:
    """Return a multipart request body that is streamed; its `content_type` is the header."""
    from clearml.utilities.requests_toolbelt import MultipartEncoder

    return MultipartEncoder(fields=fields)


def store_file(file: Path, address: str) -> str:
    """Upload a file by the SDK's storage drivers; return its address, "" if it was not stored.

    There is no time limit, and each driver raises its own exceptions.
    """
    from clearml.storage import StorageManager

    return str(StorageManager.upload_file(str(file), address, retries=1) or "")


def has_no_credentials(error: Exception) -> bool:
    """Return True if a login failed because no credentials are configured."""
    return type(error).__name__ == "MissingConfigError"


def is_answered(error: Exception) -> bool:
    """Return True if a login failed because something answered that is not a ClearML server.

    The SDK raises a `LoginError` for most answers, and a `ValueError` for one without a token.
    """
    return type(error).__name__ == "LoginError" or "misconfigured" in str(error)
