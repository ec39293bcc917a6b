"""Read the `AUTOINSTRUMENT_*` environment variables into typed settings; standard library only."""

from __future__ import annotations

import math
import os
import string
from collections.abc import Mapping
from typing import NamedTuple

from autoinstrument.scrubber import hide_in_text

PROJECT_FIELDS = ("experiment", "user", "script")
TASK_FIELDS = ("run_name", "run_id", "experiment", "script")

_OF_TASK = ("project", "task", "artifacts", "mlflow_ui")
_ON, _OFF = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class SettingsError(ValueError):
    """A variable has a value that is not allowed; the message names variable, value and what is allowed."""

    def __init__(self, variable: str, value: str, allowed: str) -> None:
        super().__init__(f"{variable}={hide_in_text(value)!r} is not allowed: {allowed}")


class Settings(NamedTuple):
    """The agent's settings, a variable each; docs/settings.md is made of what is said here."""

    project: str = "{experiment}"
    """Project of the Tasks; slashes nest."""
    task: str = "{run_name}"
    """Name of the Task."""
    artifacts: str = "link"
    """`link`: artifacts and models stay where MLflow keeps them; `upload`: they are copied to ClearML's file storage;
    `off`: no artifacts, and no pictures."""
    worker: str = "process"
    """Where the work for ClearML is done: in a process beside the training, or in a thread of it where none may be
    started."""
    exit_timeout_s: float = 10.0
    """Seconds that the end of the process may wait for what is still unsent; the rest is for `autoinstrument sync`."""
    mlflow_ui: str = ""
    """Address of the MLflow UI for the links, where it is not the tracking URI; by default derived from that."""
    abort: str = "on"
    """`on`: a Task that is stopped in ClearML stops its training, as SIGTERM would, within a minute."""
    home: str = ""
    """Folder of captures and state, by default the user's state folder (`~/.local/state/autoinstrument` on Linux), or
    `autoinstrument-state-UID` in the temporary folder where there is none that can be written."""
    quiet: str = "off"
    """`1`: only problems are logged on stderr, not the addresses of the Tasks."""


def enabled(environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether `AUTOINSTRUMENT_ENABLED` switches the agent on."""
    return environ.get("AUTOINSTRUMENT_ENABLED", "").strip().lower() in _ON


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings; an unset or empty variable has its default.

    Raises:
        SettingsError: a value is not allowed.
    """

    def value(name: str, default: str) -> str:
        return environ.get(f"AUTOINSTRUMENT_{name}", "").strip() or default

    defaults = Settings()
    return Settings(
        project=_template("PROJECT", value("PROJECT", defaults.project), PROJECT_FIELDS),
        task=_template("TASK", value("TASK", defaults.task), TASK_FIELDS),
        artifacts=_choice("ARTIFACTS", value("ARTIFACTS", defaults.artifacts), ("link", "upload", "off")),
        worker=_choice("WORKER", value("WORKER", defaults.worker), ("process", "thread")),
        exit_timeout_s=_seconds("EXIT_TIMEOUT", value("EXIT_TIMEOUT", str(defaults.exit_timeout_s))),
        mlflow_ui=_address("MLFLOW_UI", value("MLFLOW_UI", defaults.mlflow_ui)),
        abort=_choice("ABORT", value("ABORT", defaults.abort), ("on", "off")),
        home=value("HOME", defaults.home),
        quiet=_switch("QUIET", value("QUIET", defaults.quiet)),
    )


def with_task(settings: Settings, variables: Mapping[str, str]) -> Settings:
    """Return the settings with those on which a Task's form depends replaced by its own.

    Args:
        settings: this environment's.
        variables: those that are kept with the Task; what is missing has its default. It is data: with a value that is
            not allowed in it, none is taken.
    """
    try:
        kept = read_settings(variables)
    except SettingsError:
        return settings
    return settings._replace(**{name: getattr(kept, name) for name in _OF_TASK})


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value.lower() not in allowed:
        raise SettingsError(f"AUTOINSTRUMENT_{name}", value, "one of " + ", ".join(allowed))
    return value.lower()


def _switch(name: str, value: str) -> str:
    if value.lower() not in (*_ON, *_OFF):
        raise SettingsError(f"AUTOINSTRUMENT_{name}", value, "one of " + ", ".join((*_ON, *_OFF)))
    return "on" if value.lower() in _ON else "off"


def _seconds(name: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 3600:
        raise SettingsError(f"AUTOINSTRUMENT_{name}", value, "a number of seconds from 0 to 3600")
    return seconds


def _address(name: str, value: str) -> str:
    if value and not value.startswith(("http://", "https://")):
        raise SettingsError(f"AUTOINSTRUMENT_{name}", value, "an http:// or https:// address")
    return value.rstrip("/")


def _template(name: str, value: str, fields: tuple[str, ...]) -> str:
    allowed = "a template over " + " ".join(f"{{{field}}}" for field in fields)
    try:
        used = [(field, spec, conversion) for _, field, spec, conversion in string.Formatter().parse(value)]
    except ValueError:
        raise SettingsError(f"AUTOINSTRUMENT_{name}", value, allowed) from None
    if any(field is not None and (field not in fields or spec or conversion) for field, spec, conversion in used):
        raise SettingsError(f"AUTOINSTRUMENT_{name}", value, allowed)
    return value
