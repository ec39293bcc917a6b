"""The artifact root of a run, or the folder of a model, to be read: by the worker, and by `sync`.

A folder of this machine is read as such: importing MLflow costs the worker one to two seconds. Anything else goes
through MLflow's own artifact repositories.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from autoinstrument.guard import ourselves
from autoinstrument.mlflow_store import internals
from autoinstrument.mlflow_store.stores import tracking_client
from autoinstrument.mlflow_store.urls import local_folder
from autoinstrument.records import Model, RunStarted

MOST_FILES = 20_000
_CHEAP = 16 * 2**20
"""Bytes of a file that are fetched from elsewhere only to show it."""
_FILE = "file://"
_BEING_WRITTEN = ".artifact.uploading."
"""How MLflow 3 names a file in a local store until it is complete."""


class StoredFile(NamedTuple):
    """A file of the store; `time_ms` is 0 where the store does not tell when it was written."""

    path: str
    size: int
    time_ms: int


class ArtifactStore:
    """The artifacts of one run, or the files of one of its models, with their paths below that folder.

    Every method raises what the file system or the store's driver raises.
    """

    def __init__(self, run: RunStarted, model: Model | None = None) -> None:
        self._run = run
        self._model_id = self._below = ""
        if model is None:
            self._folder = local_folder(run.artifact_uri)
            return
        # Such a location is a path behind `file://`, without any encoding, see `addresses.openable`.
        self._folder = Path(model["location"][len(_FILE) :]) if model["location"].startswith(_FILE) else None
        kind, _, rest = model["uri"].partition(":/")
        if kind == "models":
            self._model_id = rest
        else:
            self._below = f"{rest.partition('/')[2]}/"

    @property
    def is_local(self) -> bool:
        """True for a folder of this machine."""
        return self._folder is not None

    def is_cheap(self, size: int) -> bool:
        """Tell whether a file of that many bytes is read for its beginning alone; other stores give it whole."""
        return self.is_local or size <= _CHEAP

    def has_digest(self, path: str, size: int, digest: str) -> bool:
        """Tell whether a file has this SHA-256; True where none is given, or the file is too large to be fetched."""
        if not digest or not self.is_cheap(size):
            return True
        found = hashlib.sha256()
        with self.local(path) as local, local.open("rb") as stream:
            while block := stream.read(2**20):
                found.update(block)
        return found.hexdigest() == digest

    def files(self) -> Iterator[StoredFile]:
        """Yield all files, in the order of their paths in each folder; 20,000 at most."""
        found = self._files_here(self._folder) if self._folder else self._files_there(self._below.rstrip("/"))
        for number, file in enumerate(found):
            if number == MOST_FILES:
                return
            yield file

    @contextlib.contextmanager
    def local(self, path: str) -> Iterator[Path]:
        """Give a file as one of this machine; it may be a copy that is gone afterwards."""
        if self._folder:
            yield self._folder / path
            return
        with tempfile.TemporaryDirectory(prefix="autoinstrument-") as folder:
            copy = Path(folder) / "artifact"
            with ourselves():
                internals.download(self._repository(), f"{self._below}{path}", copy)
            yield copy

    def _files_here(self, root: Path) -> Iterator[StoredFile]:
        for path in sorted(root.rglob("*")):
            if path.is_file() and not path.name.startswith(_BEING_WRITTEN):
                status = path.stat()
                yield StoredFile(path.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns // 1_000_000)

    def _files_there(self, folder: str) -> Iterator[StoredFile]:
        with ourselves():
            listed = self._repository().list_artifacts(folder or None)
        for info in sorted(listed, key=lambda info: str(info.path)):
            if info.is_dir:
                yield from self._files_there(info.path)
            else:
                size = -1 if info.file_size is None else int(info.file_size)
                yield StoredFile(info.path.removeprefix(self._below), size, 0)

    def _repository(self) -> Any:
        client = tracking_client(self._run.tracking_uri)
        if self._model_id:
            return internals.model_artifacts(client, self._model_id)
        return internals.run_artifacts(client, self._run.run_id)
