"""The settings that travel with a Task, as `NAME=value` lines in a configuration object that a person may edit."""

from __future__ import annotations

from autoinstrument.mlflow_store.urls import absolute, local_store
from autoinstrument.scrubber import without_credentials
from autoinstrument.settings import TABLE, Settings, with_task

OBJECT = "autoinstrument"
"""Name of the configuration object. Tasks that this package created have it, and so do their clones."""

_TRAVELLING = [setting for setting in TABLE if setting.scope != "machine"]
_LONGEST = 4000
_EXPERIMENT = "MLFLOW_EXPERIMENT_NAME"
_OF_MLFLOW = ("MLFLOW_TRACKING_URI", _EXPERIMENT, "MLFLOW_WORKSPACE")
_START_FOLDER = "START_FOLDER"
"""The only line that is no variable."""


def written(settings: Settings, tracking_uri: str, experiment: str, workspace: str = "", start_folder: str = "") -> str:
    """Return the text of the object, given a URI without credentials; see `capture.code.module_started_in`."""
    values = {"MLFLOW_TRACKING_URI": tracking_uri, _EXPERIMENT: experiment, "MLFLOW_WORKSPACE": workspace}
    for setting in _TRAVELLING:
        value = getattr(settings, setting.field)
        if value != setting.default:
            values[setting.variable] = without_credentials(setting.text(value))
    values[_START_FOLDER] = start_folder
    return "".join(f"{name}={value}\n" for name, value in values.items() if value)


def with_experiment(text: str, former: str, name: str) -> str:
    """Return the text of the object after an experiment was renamed; a line that a person has changed stays."""
    before, after = (f"{_EXPERIMENT}={value}" for value in (former, name))
    return "".join(after + "\n" if line == before else line + "\n" for line in text.splitlines())


def read(text: str) -> dict[str, str]:
    """Return the settings of the text by the names of their variables; other lines are ignored."""
    allowed = {*_OF_MLFLOW, *(setting.variable for setting in _TRAVELLING)}
    return {name: value for name, value in _lines(text).items() if name in allowed}


def start_folder_line(text: str) -> str:
    """Return the folder in which a clone's program starts, relative to the repository's root; "" for `working_dir`."""
    return _lines(text).get(_START_FOLDER, "")


def _lines(text: str) -> dict[str, str]:
    """Return the values of the text by name."""
    pairs = ((name.strip(), value.strip()) for name, _, value in (line.partition("=") for line in text.splitlines()))
    return {name: value for name, value in pairs if _is_fit(value)}


def kept(text: str, settings: Settings) -> Settings:
    """Return the settings with those of the text on which the form of a Task depends, so that it keeps its form."""
    return with_task(settings, read(text))


def _is_fit(value: str) -> bool:
    """Return True if the environment has room for the value."""
    return 0 < len(value) < _LONGEST and value.isprintable()


def is_elsewhere(tracking_uri: str) -> bool:
    """Return True if a tracking URI names a file or folder that this machine does not have."""
    is_absolute = tracking_uri.startswith("/") or absolute(tracking_uri) == tracking_uri
    path = local_store(tracking_uri) if is_absolute else None
    return path is not None and not path.exists()
