"""Entries of a Task's list of artifacts: pure functions of a file's path and content."""

from __future__ import annotations

import hashlib
import mimetypes
import re
from collections.abc import Mapping
from typing import Any

from autoinstrument import previews
from autoinstrument.clearml_api import storable
from autoinstrument.mirror.mapping import pictures
from autoinstrument.mirror.mapping.links import LINK
from autoinstrument.mlflow_store import artifact_addresses
from autoinstrument.records import ArtifactLogged, RunStarted
from autoinstrument.scrubber import hide_in_settings, hide_in_text

PATH = "MLflow path"
"""Name of the path in MLflow among an artifact's metadata."""
_LONGEST = 250
_SETTINGS = re.compile(r"\.(?:ya?ml|json|toml|ini|cfg|conf|properties|env)$|(?:^|/)\.env(?:\.|$)", re.I)
"""Names of files that hold names and values."""


def key(path: str, *, taken: bool = False) -> str:
    """Return the key of an artifact: its path, unless that is too long, or taken by another owner's artifact."""
    digest = hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    path = shown(path)
    if len(path) <= _LONGEST and not taken and path != LINK:
        return path
    return f"{path[:80]}…{path[-150:]} ~{digest}" if len(path) > _LONGEST else f"{path} ~{digest}"


def shown(path: str) -> str:
    """Return a path as the Task has it: file names are bytes, and ClearML keeps only text."""
    return storable.name(path)


def address(run: RunStarted, path: str) -> str:
    """Return the address of a run's artifact, for a browser or for ClearML's client."""
    return storable.text(artifact_addresses.of_run(run, path))


def entry(run: RunStarted, record: ArtifactLogged, key: str, uri: str, preview: str, digest: str) -> dict[str, Any]:
    """Return an item of `tasks.add_or_update_artifacts`; `digest` is the file's SHA-256, "" if it is not known."""
    kind = mimetypes.guess_type(record.path)[0] or "application/octet-stream"
    return {
        "key": key,
        "type": "custom",
        "mode": "output",
        "uri": uri,
        "content_size": max(record.size, 0),
        "timestamp": seconds(run, record),
        "type_data": {"preview": preview, "content_type": kind},
        "display_data": [[PATH, shown(record.path)]],
        **({"hash": digest} if digest else {}),
    }


def seconds(run: RunStarted, record: ArtifactLogged) -> int:
    """Return an artifact's time in seconds; the run's start if the store does not know it."""
    return (record.time_ms or run.start_time_ms) // 1000


def path_of(artifact: Mapping[str, Any]) -> str | None:
    """Return the path in MLflow of a Task's artifact, as `shown`; None if it does not come from there."""
    shown_path = (item[1] for item in artifact.get("display_data") or [] if item[:1] == [PATH])
    return next(shown_path, None)


def is_of_mlflow(artifact: Mapping[str, Any]) -> bool:
    """Return True if a Task's artifact comes from MLflow, and not from the Task's owner."""
    return path_of(artifact) is not None


def preview(path: str, content: bytes) -> str:
    """Return the beginning of a text; "" for other content, and for files that are shown as a picture or a plot.

    It goes to ClearML although the file itself may stay where it is: secrets in it are hidden.
    """
    if pictures.is_page(path) or previews.suffix(path) in previews.PICTURES or b"\0" in content:
        return ""
    cut = content[: previews.PREVIEW]
    try:
        text = cut.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(cut) - 3:  # else the end cuts a character in two
            return ""
        text = cut[: error.start].decode("utf-8")
    return hide_in_settings(text) if _SETTINGS.search(path) else hide_in_text(text)
