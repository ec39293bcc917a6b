"""A Task's list of artifacts, which is bounded, and the list of the run's files that it lacks."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from autoinstrument.clearml_api.tasks import Task
from autoinstrument.mirror.kinds.artifact_content import ArtifactContent
from autoinstrument.mirror.mapping import artifact_entries
from autoinstrument.mirror.mapping.hyperparameters import text_object
from autoinstrument.records import RunStarted

FILES_LEFT_OUT = "MLflow artifacts left out"
MAX_ARTIFACTS = 2000
"""Artifacts of one Task: it is one document, of 16 MB at most."""
_MAX_PREVIEWS, _SHORT_PREVIEW = 4 * 2**20, 500
"""Characters of all previews together, and of one when these are used up."""


class ArtifactList:
    """The artifacts of one Task.

    Attributes:
        has_news: True while the Task lacks the present list of files left out.
    """

    def __init__(self) -> None:
        self.has_news = False
        self._found: dict[str, dict[str, Any]] = {}
        """The artifacts that the Task had when it was found, by key."""
        self._keys: set[str] = set()
        self._previews: dict[str, int] = {}
        self._left_out: dict[str, str] = {}

    def begin(self, task: Task) -> None:
        """Go on with a Task's own list."""
        self._found, self._keys = task.artifacts, set(task.artifacts)

    def found(self, path: str) -> dict[str, Any] | None:
        """Return the artifact that the Task had under a file's key when it was found."""
        return self._found.get(artifact_entries.key(path))

    def gone(self, paths: Collection[str]) -> list[str]:
        """Forget the artifacts of MLflow's whose files are not among these, given as `artifact_entries.shown`.

        Returns:
            Their keys.
        """
        of_paths = {key: artifact_entries.path_of(artifact) for key, artifact in self._found.items()}
        gone = [key for key, path in of_paths.items() if path is not None and path not in paths]
        self._found = {key: artifact for key, artifact in self._found.items() if key not in gone}
        self._keys.difference_update(gone)
        return gone

    def entry(self, run: RunStarted, file: ArtifactContent, address: str, digest: str) -> dict[str, Any] | None:
        """Return a file's entry in the list, None if there is no room for it."""
        path, found = file.record.path, self.found(file.record.path)
        key = artifact_entries.key(path, taken=found is not None and not artifact_entries.is_of_mlflow(found))
        if key not in self._keys and len(self._keys) >= MAX_ARTIFACTS:
            self.leave_out(path, f"a Task has room for {MAX_ARTIFACTS} artifacts")
            return None
        self._keys.add(key)
        preview = artifact_entries.preview(path, file.content)
        if sum(self._previews.values()) - self._previews.get(path, 0) + len(preview) > _MAX_PREVIEWS:
            preview = preview[:_SHORT_PREVIEW]
        self._previews[path] = len(preview)
        return artifact_entries.entry(run, file.record, key, address, preview, digest)

    def leave_out(self, path: str, reason: str) -> None:
        """Note that the Task lacks a file, or its picture."""
        if self._left_out.get(path) != reason:
            self._left_out[path] = reason
            self.has_news = True

    def left_out(self) -> dict[str, str]:
        """Return the configuration object that lists the files left out."""
        lines = [f"{artifact_entries.shown(path)}: {reason}" for path, reason in self._left_out.items()]
        return text_object(FILES_LEFT_OUT, lines, 0, "of MLflow's artifacts")

    def listed(self) -> None:
        """Note that the Task has the list of files left out."""
        self.has_news = False
