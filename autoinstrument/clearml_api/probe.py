"""Check the connection to ClearML: the main program of a short-lived process, which prints its findings as JSON."""

from __future__ import annotations

import json
import os
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from autoinstrument.clearml_api.errors import ClearMLError
from autoinstrument.clearml_api.session import Session

_VARIABLES = ("CLEARML_API_HOST", "CLEARML_API_ACCESS_KEY", "CLEARML_API_SECRET_KEY", "CLEARML_AUTH_TOKEN")


def main() -> None:
    """Print where the configuration is, its values without secrets, and whether the server accepts them."""
    print(json.dumps(described()))  # noqa: T201  (read by the process that asked)


def described() -> dict[str, Any]:
    """Return the findings; `error` is one line, "" if everything works."""
    found: dict[str, Any] = {
        "file": configuration_file(),
        "variables": [name for name in _VARIABLES if os.environ.get(name)],
        "error": "",
    }
    session = Session(lean=True)
    try:
        found |= session.login.addresses()
        began = time.time()
        date = session.ping()
        ended = time.time()
        found["round_trip_s"] = ended - began
        if date:
            found["ahead_s"] = ahead_s(parsedate_to_datetime(date).timestamp(), began, ended)
    except (ClearMLError, ValueError) as error:
        found["error"] = str(error)
    return found


def ahead_s(date_s: float, began_s: float, ended_s: float) -> float:
    """Return by how many seconds at least a server's clock is ahead of this machine's, 0 if both may be equal.

    Args:
        date_s: the `Date` of a response, without the fraction of the second.
        began_s: start of the request by this machine's clock.
        ended_s: end of the response by this machine's clock.
    """
    least, most = date_s - ended_s, date_s + 1 - began_s
    return max(least, 0.0) + min(most, 0.0)


def configuration_file() -> str:
    """Return the path of ClearML's configuration file, "" if there is none."""
    given = os.environ.get("CLEARML_CONFIG_FILE") or os.environ.get("TRAINS_CONFIG_FILE") or "~/clearml.conf"
    path = Path(given).expanduser()
    return str(path) if path.is_file() else ""
