"""The settings that travel with a Task: plain `NAME=value` lines in a configuration object, to be read and edited."""

from __future__ import annotations

from autoinstrument.mlflow_store.urls import absolute, local_store
from autoinstrument.scrubber import without_credentials
from autoinstrument.settings import TABLE, Settings, with_task

OBJECT = "autoinstrument"
"""Name of the configuration object, by which a Task of this project is known, and its clones."""

_TRAVELLING = [setting for setting in TABLE if setting.scope != "machine"]
_LONGEST = 4000


def written(settings: Settings, tracking_uri: str, experiment: str) -> str:
    """Return the object's text; the URI has no credentials in it."""
    values = {"MLFLOW_TRACKING_URI": tracking_uri, "MLFLOW_EXPERIMENT_NAME": experiment}
    for setting in _TRAVELLING:
        value = getattr(settings, setting.field)
        if value != setting.default:
            values[setting.variable] = without_credentials(setting.text(value))
    return "".join(f"{name}={value}\n" for name, value in values.items() if value)


def read(text: str) -> dict[str, str]:
    """Return the settings by name; lines that are none of these, and comments, are passed over."""
    allowed = {"MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", *(setting.variable for setting in _TRAVELLING)}
    pairs = ((name.strip(), value.strip()) for name, _, value in (line.partition("=") for line in text.splitlines()))
    return {name: value for name, value in pairs if name in allowed and _is_fit(value)}


def kept(text: str, settings: Settings) -> Settings:
    """Return the settings, but those on which a Task's form depends as the text says: the Task stays as it was made."""
    return with_task(settings, read(text))


def _is_fit(value: str) -> bool:
    """Tell whether an environment can hold the value, beside all else that it has."""
    return 0 < len(value) < _LONGEST and value.isprintable()


def is_elsewhere(tracking_uri: str) -> bool:
    """Tell whether a tracking URI is a file or folder that this machine does not have."""
    is_absolute = tracking_uri.startswith("/") or absolute(tracking_uri) == tracking_uri
    path = local_store(tracking_uri) if is_absolute else None
    return path is not None and not path.exists()
