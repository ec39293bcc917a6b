"""The `AUTOINSTRUMENT_*` environment variables: one table, from which everything that knows a setting is made.

Each field of `Settings` is a row of the table: name, type, default, allowed values, scope and meaning. The variable's
name follows from the field's: `exit_timeout_s` is `AUTOINSTRUMENT_EXIT_TIMEOUT`. Made from the table are
`read_settings`, the page docs/settings.md, the findings of `doctor`, and the settings that travel with a Task.
"""

from __future__ import annotations

import os
import string
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Generic, Literal, TypeVar

from autoinstrument.scrubber import hide_in_text
from autoinstrument.switch import OFF, ON, is_on

_T = TypeVar("_T")
_PREFIX = "AUTOINSTRUMENT_"
_ROW = "setting"

Scope = Literal["machine", "run", "task"]
"""How far a value reaches. "machine": it stays on the machine where it is set. "run": it travels with the Task, and a
clone takes it. "task": it also decides what the Task looks like, so that `sync` and `verify`, which may run later and
elsewhere, use the value that the Task was made with."""


class SettingsError(ValueError):
    """A variable has a value that is not allowed; the message names variable, value and allowed values."""

    def __init__(self, variable: str, value: str, allowed: str) -> None:
        super().__init__(f"{variable}={hide_in_text(value)!r} is not allowed: {allowed}")


class Values(Generic[_T]):
    """The values that a setting may have."""

    allowed = ""
    """The allowed values, for a person; "" if every text is allowed."""

    def parse(self, text: str) -> _T:
        """Return the value of a variable's text, which is not empty.

        Raises:
            ValueError: the text is not allowed.
        """
        raise NotImplementedError

    def text(self, value: _T) -> str:
        """Return the text from which `parse` makes this value."""
        return str(value)


class _Text(Values[str]):
    """Any text."""

    def parse(self, text: str) -> str:
        return text


class _Choice(Values[str]):
    """One of several words, in upper or lower case."""

    def __init__(self, *words: str) -> None:
        self._words = words
        self.allowed = "one of " + ", ".join(words)

    def parse(self, text: str) -> str:
        if text.lower() not in self._words:
            raise ValueError(text)
        return text.lower()


class _Address(Values[str]):
    """Base address of a web server, without the slash at its end."""

    allowed = "an http:// or https:// address"

    def parse(self, text: str) -> str:
        if not text.startswith(("http://", "https://")):
            raise ValueError(text)
        return text.rstrip("/")


class _Template(Values[str]):
    """Text with named fields in braces."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self.allowed = "a template over " + " ".join(f"{{{name}}}" for name in names)

    def parse(self, text: str) -> str:
        for _, name, spec, conversion in string.Formatter().parse(text):
            if name is not None and (name not in self._names or spec or conversion):
                raise ValueError(text)
        return text


class _Switch(Values[bool]):
    """On or off."""

    allowed = "one of " + ", ".join((*ON, *OFF))

    def parse(self, text: str) -> bool:
        if text.lower() not in (*ON, *OFF):
            raise ValueError(text)
        return is_on(text)

    def text(self, value: bool) -> str:
        return "on" if value else "off"


class _Seconds(Values[float]):
    """Number of seconds."""

    allowed = "a number of seconds from 0 to 3600"

    def parse(self, text: str) -> float:
        seconds = float(text)
        if not 0 <= seconds <= 3600:  # also where it is no number, "nan"
            raise ValueError(text)
        return seconds

    def text(self, value: float) -> str:
        return str(value).removesuffix(".0")


@dataclass(frozen=True)
class Setting(Generic[_T]):
    """A row of the table."""

    variable: str
    """The environment variable."""
    field: str
    """The field of `Settings`, "" for the switch."""
    default: _T
    values: Values[_T]
    scope: Scope
    meaning: str

    def read(self, environ: Mapping[str, str]) -> _T:
        """Return the value that an environment gives the setting; an unset or empty variable has the default.

        Raises:
            SettingsError: the value is not allowed.
        """
        text = environ.get(self.variable, "").strip()
        if not text:
            return self.default
        try:
            return self.values.parse(text)
        except ValueError:
            raise SettingsError(self.variable, text, self.values.allowed) from None

    def text(self, value: _T) -> str:
        """Return the text that gives the variable this value, "" for none."""
        return self.values.text(value)


def _setting(values: Values[_T], default: _T, scope: Scope, meaning: str) -> _T:
    """Declare a field of `Settings`; the type is that of the field, as with `dataclasses.field`."""
    found: _T = field(default=default, metadata={_ROW: (values, scope, " ".join(meaning.split()))})
    return found


@dataclass(frozen=True)
class Settings:
    """The agent's settings. To add one, add a field here and run `python docs/settings_page.py`."""

    project: str = _setting(
        _Template("experiment", "user", "script", "workspace"), "{experiment}", "task",
        "Project of the Tasks; slashes make subprojects.",
    )  # fmt: skip
    task: str = _setting(
        _Template("run_name", "run_id", "experiment", "script"), "{run_name}", "task",
        "Name of the Task.",
    )  # fmt: skip
    artifacts: str = _setting(
        _Choice("link", "upload", "off"), "link", "task",
        """`link`: artifacts and models stay where MLflow keeps them; `upload`: they are copied to ClearML's file
        storage; `off`: no artifacts, and no pictures.""",
    )  # fmt: skip
    worker: str = _setting(
        _Choice("process", "thread"), "process", "run",
        """Where the work for ClearML is done: in a process beside the training, or in a thread of the training process
        where no other process may be started.""",
    )  # fmt: skip
    worker_linger_s: float = _setting(
        _Seconds(), 30.0, "machine",
        """Seconds that the worker process stays after the last training process that uses it has gone: scripts that
        are started one after the other share it.""",
    )  # fmt: skip
    exit_timeout_s: float = _setting(
        _Seconds(), 10.0, "run",
        """Seconds that the end of the process may wait for unsent data; `autoinstrument sync` sends the rest.""",
    )  # fmt: skip
    mlflow_ui: str = _setting(
        _Address(), "", "task",
        "Address of the MLflow UI for the links, if it differs from the tracking URI; by default derived from that.",
    )  # fmt: skip
    abort: bool = _setting(
        _Switch(), True, "run",
        "`on`: a Task that is stopped in ClearML stops its training within a minute, as SIGTERM would.",
    )  # fmt: skip
    home: str = _setting(
        _Text(), "", "machine",
        """Folder of captures and state, by default the user's state folder (`~/.local/state/autoinstrument` on Linux),
        or `autoinstrument-state-UID` in the temporary folder if that cannot be written.""",
    )  # fmt: skip
    quiet: bool = _setting(
        _Switch(), False, "machine",
        "`1`: only problems are logged on stderr, not the addresses of the Tasks.",
    )  # fmt: skip


SWITCH = Setting(
    f"{_PREFIX}ENABLED", "", False, _Switch(), "machine",
    "The switch; any other value is off. Under a ClearML agent it is on by default for "
    "[Tasks of this project](orchestration.md).",
)  # fmt: skip
"""The start-up files read this variable (`autoinstrument.init`); a wrong value is no error, but off."""

TABLE: tuple[Setting[Any], ...] = tuple(
    Setting(f"{_PREFIX}{row.name.removesuffix('_s').upper()}", row.name, row.default, *row.metadata[_ROW])
    for row in fields(Settings)
)
"""All settings but the switch, in the order of the documentation."""

INTERNAL = (f"{_PREFIX}CLONE", f"{_PREFIX}EXPLAIN", f"{_PREFIX}CHECK_REPORT")
"""Variables that the package sets for its own processes; they are no settings."""


def enabled(environ: Mapping[str, str] = os.environ) -> bool:
    """Return True if `AUTOINSTRUMENT_ENABLED` switches the agent on."""
    return is_on(environ.get(SWITCH.variable, ""))


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of an environment; an unset or empty variable has its default.

    Raises:
        SettingsError: a value is not allowed.
    """
    return Settings(**{setting.field: setting.read(environ) for setting in TABLE})


def with_task(settings: Settings, variables: Mapping[str, str]) -> Settings:
    """Return the settings with those of scope "task" replaced by the ones that a Task was made with.

    Args:
        settings: those of this environment.
        variables: the text that the Task holds for each variable; a missing one has its default. These texts are data
            that anybody may have edited: if one is not allowed, none is used.
    """
    try:
        kept = read_settings(variables)
    except SettingsError:
        return settings
    return replace(settings, **{row.field: getattr(kept, row.field) for row in TABLE if row.scope == "task"})
