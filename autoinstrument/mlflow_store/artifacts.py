"""Read the artifacts of a run, or the files of a model, from where MLflow has stored them.

A folder on this machine is read directly, because importing MLflow costs the worker one to two seconds. Anything else
is read through MLflow's artifact repositories.
"""

from __future__ import annotations

import contextlib
import hashlib
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autoinstrument.guard import own_calls
from autoinstrument.mlflow_store import internals, training_stores
from autoinstrument.mlflow_store.stores import tracking_client
from autoinstrument.mlflow_store.urls import local_folder
from autoinstrument.mlflow_store.workspaces import in_workspace
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.records import Model, RunStarted

MOST_FILES = 20_000
_CHEAP = 16 * 2**20
"""Largest file that is downloaded only to show it, in bytes."""
_MOST_REPOSITORIES = 4
"""Repositories of MLflow's that are kept for further files of their runs."""
_FILE = "file://"
_BEING_WRITTEN = ".artifact.uploading."
"""Beginning of the name that MLflow 3 gives to a file in a local store until it is complete."""


class StoredFile(NamedTuple):
    """A file of the store.

    Attributes:
        path: path below the artifact root, or the model's folder.
        size: bytes, -1 if the store does not report them.
        time_ms: time of the last change in ms since the epoch, 0 if the store does not report it.
    """

    path: str
    size: int
    time_ms: int


class ArtifactStore:
    """The artifacts of one run, or the files of one of its models; paths are below that folder.

    Every method raises the exceptions of the file system or of the store's driver.

    Args:
        run: the run.
        model: one of its models; None for the run's artifacts.
    """

    def __init__(self, run: RunStarted, model: Model | None = None) -> None:
        self._run = run
        self._model_id = self._below = ""
        if model is None:
            self._folder = local_folder(run.artifact_uri)
            return
        # The path behind `file://` is not encoded, see `artifact_addresses.openable`.
        self._folder = Path(model["location"][len(_FILE) :]) if model["location"].startswith(_FILE) else None
        kind, _, rest = model["uri"].partition(":/")
        if kind == "models":
            self._model_id = rest
        else:
            self._below = f"{rest.partition('/')[2]}/"

    @property
    def is_local(self) -> bool:
        """True for a folder on this machine."""
        return self._folder is not None

    def is_cheap(self, size: int) -> bool:
        """Return True if reading the beginning of a file of `size` bytes is cheap: other stores download all of it."""
        return self.is_local or size <= _CHEAP

    def has_digest(self, path: str, size: int, digest: str) -> bool:
        """Return True if a file has this SHA-256, if none is given, or if the file is too large to download."""
        if not digest or not self.is_cheap(size):
            return True
        found = hashlib.sha256()
        with self.local(path) as local, local.open("rb") as stream:
            while block := stream.read(2**20):
                found.update(block)
        return found.hexdigest() == digest

    def files(self) -> Iterator[StoredFile]:
        """Yield the files, in each folder by path; `MOST_FILES` of them at most."""
        found = self._files_here(self._folder) if self._folder else self._files_there(self._below.rstrip("/"))
        for number, file in enumerate(found):
            if number == MOST_FILES:
                return
            yield file

    @contextlib.contextmanager
    def local(self, path: str) -> Iterator[Path]:
        """Return a file on this machine, within a context; it may be a copy that is removed afterwards."""
        if self._folder:
            yield self._folder / path
            return
        with tempfile.TemporaryDirectory(prefix="autoinstrument-") as folder:
            copy = Path(folder) / "artifact"
            with own_calls(), in_workspace(self._run.workspace):
                internals.download(self._repository(), f"{self._below}{path}", copy)
            yield copy

    def _files_here(self, root: Path) -> Iterator[StoredFile]:
        for path in sorted(root.rglob("*")):
            try:
                status = path.stat()
            except FileNotFoundError:  # deleted by now, as an old checkpoint, or a link that leads nowhere
                continue
            if stat.S_ISREG(status.st_mode) and not path.name.startswith(_BEING_WRITTEN):
                yield StoredFile(path.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns // 1_000_000)

    def _files_there(self, folder: str) -> Iterator[StoredFile]:
        with own_calls(), in_workspace(self._run.workspace):
            listed = self._repository().list_artifacts(folder or None)
        for info in sorted(listed, key=lambda info: str(info.path)):
            if info.is_dir:
                yield from self._files_there(info.path)
            else:
                size = -1 if info.file_size is None else int(info.file_size)
                yield StoredFile(info.path.removeprefix(self._below), size, 0)

    def _repository(self) -> Any:
        client = tracking_client(self._run.tracking_uri)
        if not training_stores.are_watched():  # else the training has a use for them
            internals.forget_artifact_repositories(_MOST_REPOSITORIES)
        if self._model_id:
            return internals.model_artifacts(client, self._model_id)
        return internals.run_artifacts(client, self._run.run_id)
