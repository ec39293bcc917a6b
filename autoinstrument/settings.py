"""The `AUTOINSTRUMENT_*` environment variables: one table, from which everything that knows a setting is made.

Each field of `Settings` is a row of the table: name, type, default, allowed values, scope and meaning. The variable's
name follows from the field's: `exit_timeout_s` is `AUTOINSTRUMENT_EXIT_TIMEOUT`. Made from the table are
`read_settings`, the page docs/settings.md, the findings of `doctor`, and the settings that travel with a Task.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Generic, Literal, TypeVar

from autoinstrument import experiment_patterns
from autoinstrument.scrubber import hide_in_text
from autoinstrument.setting_values import (
    Address,
    Choice,
    Patterns,
    Period,
    Seconds,
    Silence,
    Switch,
    TagTemplates,
    Template,
    Text,
    Values,
    Words,
)
from autoinstrument.switch import is_on

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
        Template("experiment", "user", "script", "workspace"), "{experiment}", "task",
        "Project of the Tasks; slashes make subprojects.",
    )  # fmt: skip
    task: str = _setting(
        Template("run_name", "run_id", "experiment", "script"), "{run_name}", "task",
        "Name of the Task.",
    )  # fmt: skip
    artifacts: str = _setting(
        Choice("link", "upload", "off"), "link", "task",
        """`link`: artifacts and models stay where MLflow keeps them; `upload`: they are copied to ClearML's file
        storage; `off`: no artifacts, and no pictures.""",
    )  # fmt: skip
    scalars: str = _setting(
        Choice("prefix", "name"), "prefix", "task",
        """What metrics share a chart: `prefix`: `val/loss` is title `val`, series `loss`; `name`: it is title `loss`,
        series `val`, as is `val_loss`, so that training and validation lie over each other.""",
    )  # fmt: skip
    experiments: tuple[str, ...] = _setting(
        Patterns(), experiment_patterns.EVERYTHING, "machine",
        """Names of the experiments whose runs are mirrored, see
        [Which runs are mirrored](stores.md#which-runs-are-mirrored).""",
    )  # fmt: skip
    tags: tuple[str, ...] = _setting(
        TagTemplates(), (), "task",
        """Tags of the Tasks in ClearML: words, or templates over the run's tags and parameters in MLflow, as
        `prod,team={team}`. A template is left out if the run has no such tag or parameter.""",
    )  # fmt: skip
    publish: tuple[str, ...] = _setting(
        Words(), (), "run",
        """Aliases and stages in MLflow's registry whose models are published in ClearML, as `champion,Production`;
        `iris@champion` and `iris/Production` are those of one registered model. See
        [Models](models.md).""",
    )  # fmt: skip
    worker: str = _setting(
        Choice("process", "thread"), "process", "run",
        """Where the work for ClearML is done: in a process beside the training, or in a thread of the training process
        where no other process may be started.""",
    )  # fmt: skip
    worker_linger_s: float = _setting(
        Seconds(), 30.0, "machine",
        """Seconds that the worker process stays after the last training process that uses it has gone: scripts that
        are started one after the other share it.""",
    )  # fmt: skip
    exit_timeout_s: float = _setting(
        Seconds(), 10.0, "run",
        """Seconds that the end of the process may wait for unsent data; `autoinstrument sync` sends the rest.""",
    )  # fmt: skip
    mlflow_ui: str = _setting(
        Address(), "", "task",
        "Address of the MLflow UI for the links, if it differs from the tracking URI; by default derived from that.",
    )  # fmt: skip
    abort: bool = _setting(
        Switch(), True, "run",
        "`on`: a Task that is stopped in ClearML stops its training within a minute, as SIGTERM would.",
    )  # fmt: skip
    dead_after_s: float = _setting(
        Silence(), 300.0, "machine",
        """`autoinstrument sync --follow` ends runs whose agent has been silent for so many seconds: their machine is
        gone, see [Machines that vanish](vanished-machines.md). `off`: never.""",
    )  # fmt: skip
    traces: bool = _setting(
        Switch(), True, "task",
        """`on`: the Task shows the run's [traces](traces.md) with their requests,
        responses and assessments, which may be private; `off`: only their number.""",
    )  # fmt: skip
    note: bool = _setting(
        Switch(), False, "task",
        """`on`: the run's description in MLflow ends with a line that links to the Task. MLflow's pages show no tag as
        a link, but this one.""",
    )  # fmt: skip
    monitor_s: float = _setting(
        Period(), 1.0, "run",
        """`on`: the Task has the figures of its machine, GPUs and processes, read every second from outside of the
        training; or the seconds between readings.""",
    )  # fmt: skip
    console: str = _setting(
        Choice("python", "descriptors", "off"), "python", "run",
        """`python`: the Task has what Python writes to the console, in this process, its children and other ranks;
        `descriptors`: also what C libraries and other programs write there, by a relay, which
        [can be seen](internals/console.md#descriptors); `off`: the Task has no console.""",
    )  # fmt: skip
    home: str = _setting(
        Text(), "", "machine",
        """Folder of journals and state, by default the user's state folder (`~/.local/state/autoinstrument` on Linux),
        or `autoinstrument-state-UID` in the temporary folder if that cannot be written.""",
    )  # fmt: skip
    quiet: bool = _setting(
        Switch(), False, "machine",
        "`1`: only problems are logged on stderr, not the addresses of the Tasks.",
    )  # fmt: skip


SWITCH = Setting(
    f"{_PREFIX}ENABLED", "", False, Switch(), "machine",
    "The switch; any other value is off. Under a ClearML agent it is on by default for "
    "[Tasks of this project](orchestration.md).",
)  # fmt: skip
"""The start-up files read this variable (`autoinstrument.init`); a wrong value is not an error, but off."""

TABLE: tuple[Setting[Any], ...] = tuple(
    Setting(f"{_PREFIX}{row.name.removesuffix('_s').upper()}", row.name, row.default, *row.metadata[_ROW])
    for row in fields(Settings)
)
"""All settings but the switch, in the order of the documentation."""

INTERNAL = (f"{_PREFIX}CLONE", f"{_PREFIX}EXPLAIN", f"{_PREFIX}CHECK_REPORT")
"""Variables that the package sets for its own processes; they are not settings."""


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
