"""The settings that travel with a Task, so that a clone's run is mirrored in the same way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoinstrument.clone_run.settings import OBJECT, kept, written
from autoinstrument.records import RunStarted
from autoinstrument.scrubber import without_credentials
from autoinstrument.settings import Settings


def travelling(settings: Settings, run: RunStarted, start_folder: str = "") -> dict[str, str]:
    """Return the configuration object with the settings that an agent's run of a clone takes; see `written`."""
    uri = without_credentials(run.tracking_uri)
    text = written(settings, uri, run.experiment_name, run.workspace, start_folder)
    return {"name": OBJECT, "value": text, "type": "text", "description": "settings that a clone's run takes"}


def settings_of(task: Mapping[str, Any], settings: Settings) -> Settings:
    """Return the settings that a Task carries, or `settings` if it carries none."""
    item = (task.get("configuration") or {}).get(OBJECT)
    return settings if item is None else kept(str(item.get("value") or ""), settings)
