"""Check the tracking store with the training's credentials: the main program of a process, which prints JSON.

A separate process is used because MLflow's client may hang, and loads whatever plug-ins and drivers the store needs.
"""

from __future__ import annotations

import json
import re
from typing import Any

from autoinstrument.mlflow_store.runs import left_open_runs, one_experiment
from autoinstrument.mlflow_store.store_errors import NoStoreError
from autoinstrument.scrubber import hide_in_text

_NO_SERVER = "Check MLFLOW_TRACKING_URI, and that the server runs."
_OTHER_SERVER = "Check MLFLOW_TRACKING_URI: its port and its path must be those of an MLflow tracking server."
_NO_CREDENTIALS = (
    "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, as the training has them."
)
_NO_RIGHT = "Ask whoever runs the server for the permission to read and write experiments."
_NO_TRUST = (
    "Set MLFLOW_TRACKING_SERVER_CERT_PATH, or REQUESTS_CA_BUNDLE, to the certificate of the authority, as the training "
    "has it."
)
_NO_CERTIFICATE = "Set MLFLOW_TRACKING_CLIENT_CERT_PATH to a file with certificate and key, as the training has it."
_PROXY = "Check HTTPS_PROXY, HTTP_PROXY and NO_PROXY: the address, the user and the password of the proxy."
_OF_STATUS = {
    401: ("refuses the credentials (401)", _NO_CREDENTIALS),
    403: ("does not let this user read experiments (403)", _NO_RIGHT),
    404: ("is no MLflow tracking server (404)", _OTHER_SERVER),
    407: ("is behind a proxy that refuses the credentials (407)", _PROXY),
}
_OF_TEXT = {
    "CERTIFICATE_VERIFY_FAILED": ("has a certificate that is not trusted here", _NO_TRUST),
    "alert certificate required": ("wants a certificate of the client", _NO_CERTIFICATE),
    "Caused by ProxyError": ("cannot be reached through the proxy", _PROXY),
    "not in a valid JSON format": ("is no MLflow tracking server (its answer is no JSON)", _OTHER_SERVER),
    "failed with exception": ("cannot be reached", _NO_SERVER),
}
"""By parts of the messages of exceptions that have no status (MLflow 2.16 to 3.17), the first that fits."""
_MOST_OPEN = 100


def main() -> None:
    """Print whether the store answers, and which runs in it nothing will end."""
    print(json.dumps(described()))  # noqa: T201  (read by the process that asked)


def described() -> dict[str, Any]:
    """Return the findings: `problem` and `remedy`, "" if everything works, and ids of runs that were left open.

    `is_new` is true for a store that does not exist yet, which is a problem for a person who expects runs in it.
    """
    try:
        one_experiment()
    except NoStoreError as error:
        remedy = f"{error.remedy[0].upper()}{error.remedy[1:]}."
        return {"problem": error.problem, "remedy": remedy, "is_new": error.is_new}
    except Exception as error:  # each driver of a store has its own
        problem, remedy = _explained(error)
        return {"problem": problem, "remedy": remedy}
    try:
        left_open = [stored.run.run_id for stored in left_open_runs(limit=_MOST_OPEN)]
    except Exception:  # a store that cannot search by tags still answers
        left_open = []
    return {"problem": "", "remedy": "", "left_open": left_open}


def _explained(error: Exception) -> tuple[str, str]:
    text = hide_in_text(" ".join(str(error).split()))
    if repeated := re.search(r"too many (\d+) error responses", text):
        return f"answers with {repeated[1]}", _NO_SERVER
    for part, explained in _OF_TEXT.items():
        if part in text:
            return explained
    status = _status(error, text)
    return _OF_STATUS.get(status, (f"cannot be used: {type(error).__name__}: {text[:300]}", _NO_SERVER))


def _status(error: Exception, text: str) -> int:
    """Return the HTTP status of a server's response, 0 if the error does not come from a response.

    `get_http_status_code` returns one for errors of local stores, too.
    """
    found = re.search(r"failed with error code (\d+)", text)
    if found:
        return int(found[1])
    is_answer = type(error).__name__ == "RestException"  # its body was JSON
    return int(error.get_http_status_code()) if is_answer and hasattr(error, "get_http_status_code") else 0
