"""Check the tracking store with the training's credentials: the main program of a process, which prints JSON.

A separate process is used because MLflow's client may hang, and loads whatever plug-ins and drivers the store needs.
"""

from __future__ import annotations

import json
import re
from typing import Any

from autoinstrument.mlflow_store.runs import left_open_runs, one_experiment
from autoinstrument.mlflow_store.store_errors import NO_CREDENTIALS, NO_SERVER, OTHER_SERVER, NoStoreError, explained
from autoinstrument.scrubber import hide_in_text

_NO_RIGHT = "Ask whoever runs the server for the permission to read and write experiments."
_OF_STATUS = {
    401: ("refuses the credentials (401)", NO_CREDENTIALS),
    403: ("does not let this user read experiments (403)", _NO_RIGHT),
    404: ("is no MLflow tracking server (404)", OTHER_SERVER),
}
"""What these statuses mean if a server answers the search for experiments with them."""
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
    if known := explained(error):
        return known
    text = hide_in_text(" ".join(str(error).split()))
    unknown = f"cannot be used: {type(error).__name__}: {text[:300]}", NO_SERVER
    return _OF_STATUS.get(_status(error, text), unknown)


def _status(error: Exception, text: str) -> int:
    """Return the HTTP status of a server's response, 0 if the error does not come from a response.

    `get_http_status_code` returns one for errors of local stores, too.
    """
    found = re.search(r"failed with error code (\d+)", text)
    if found:
        return int(found[1])
    is_answer = type(error).__name__ == "RestException"  # its body was JSON
    return int(error.get_http_status_code()) if is_answer and hasattr(error, "get_http_status_code") else 0
