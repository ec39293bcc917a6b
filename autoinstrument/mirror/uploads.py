"""Uploads to the one place for files, and MLflow's store that they come from; what fails is left alone for a while."""

from __future__ import annotations

import time
from pathlib import Path

from autoinstrument.clearml_api.backoff import Backoff
from autoinstrument.clearml_api.errors import FilesUnavailableError, NotAllowedError, RefusedError, UnavailableError
from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.tasks import Task
from autoinstrument.mlflow_store.store_errors import problem_of

_SLOW_S = 5.0
"""A store that takes so long to refuse a file does not answer; a file that is missing is refused at once."""


class Uploads:
    """ClearML's place for files, as all runs of a worker share it."""

    def __init__(self, files: FileUploads) -> None:
        self._files = files
        self._reason = ""
        self.server = Backoff()
        self._store, self._store_reason = Backoff(), ""

    def check_store(self) -> None:
        """See that files may be fetched from MLflow's store of artifacts.

        Raises:
            FilesUnavailableError: it kept us waiting in vain, a moment ago.
        """
        if not self._store.is_due():
            raise FilesUnavailableError(self._store_reason)

    def note_store(self, error: Exception, took_s: float) -> None:
        """Note that a file could not be fetched from MLflow's store, which is left alone for a while if it was slow."""
        if took_s > _SLOW_S:
            self._store_reason = f"artifacts cannot be read ({problem_of(error)})"
            self._store.failed(UnavailableError(self._store_reason), took_s)

    def check(self) -> None:
        """See that an upload may be tried.

        Raises:
            FilesUnavailableError: the last one failed, a moment ago.
        """
        if not self.server.is_due():
            raise FilesUnavailableError(self._reason)

    def upload(self, task: Task, folder: str, path: str, content: bytes | Path, *, artifact: bool) -> str:
        """Upload a file and return its address; see `FileUploads.upload`.

        Raises:
            FilesUnavailableError: the place does not answer, or did not a moment ago.
            RefusedError: it does not take this file, or nothing from us.
        """
        self.check()
        began = time.monotonic()
        try:
            address = self._files.upload(task, folder, path, content, artifact=artifact)
        except UnavailableError as error:
            self._reason = str(error)
            self.server.failed(error, time.monotonic() - began)
            raise FilesUnavailableError(self._reason) from error
        except NotAllowedError as error:
            raise RefusedError(str(error)) from error
        self.server.succeeded()
        return address
