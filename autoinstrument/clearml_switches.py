"""ClearML's own environment variables, and the switches among them that keep a process from talking to its server.

The training process uses them too: they are read from the environment, without importing clearml. Names and values are
those of clearml 1.16 to 2.1.12 (`backend_api/session/defs.py`, `config/defs.py`, `backend_config/converters.py`).
"""

from __future__ import annotations

import os

_FALSE = ("n", "no", "f", "false", "off", "0")


def switched_off() -> str:
    """Return the variable by which the user switches ClearML off, as "CLEARML_OFFLINE_MODE=1"; "" if there is none.

    `Task.set_offline(True)` sets the first one for its process. An agent sets the second one for every program that it
    runs (clearml-agent 3.0.3), because it sends the console itself: below an agent it does not come from the user.
    """
    name, value = _first("OFFLINE_MODE")
    if value and value.lower() not in _FALSE:  # any other value is true; a number is an API version
        return f"{name}={value}"
    name, value = _first("LOG_TASK_TO_BACKEND")
    if value.lower() in _FALSE and not _first("TASK_ID")[1]:
        return f"{name}={value}"
    return ""


def refusal(switch: str) -> str:
    """Return the reason why nothing is sent, for a person."""
    return f"nothing is sent to ClearML while {switch[:80]} is set"


def clearml_variable(name: str) -> str:
    """Return the value of a variable by its name without prefix, "" if it is not set; `CLEARML_` before `TRAINS_`."""
    return _first(name)[1]


def _first(name: str) -> tuple[str, str]:
    """Return the first of a variable's two names that has a value, and the value; ("", "") if neither has."""
    for key in (f"CLEARML_{name}", f"TRAINS_{name}"):
        if value := os.environ.get(key, "").strip():
            return key, value
    return "", ""
