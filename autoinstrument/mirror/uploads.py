"""Uploads to ClearML's file storage, and reads from MLflow's artifact store; either is left alone after a failure."""

from __future__ import annotations

import time
from pathlib import Path

from autoinstrument.clearml_api.backoff import Backoff
from autoinstrument.clearml_api.errors import FilesUnavailableError, NotAllowedError, RefusedError, UnavailableError
from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.tasks import Task
from autoinstrument.mlflow_store.store_errors import problem_of, refuses_credentials

_SLOW_S = 5.0
"""Seconds after which a store that fails counts as one that does not answer; it refuses a missing file at once."""


class Uploads:
    """ClearML's file storage, shared by all runs of a worker.

    Attributes:
        server: when the file storage may be tried again.
    """

    def __init__(self, files: FileUploads) -> None:
        self._files = files
        self._reason = ""
        self.server = Backoff()
        self._store, self._store_reason = Backoff(), ""

    def check_store(self) -> None:
        """Check that files may be fetched from MLflow's artifact store.

        Raises:
            FilesUnavailableError: it did not answer a moment ago.
        """
        if not self._store.is_due():
            raise FilesUnavailableError(self._store_reason)

    def note_store(self, error: Exception, took_s: float) -> None:
        """Note that a file could not be fetched from MLflow's store; leave a slow store alone for a while.

        Raises:
            FilesUnavailableError: the store refuses the credentials; so it would for any other file.
        """
        is_refused = refuses_credentials(error)
        if took_s > _SLOW_S or is_refused:
            self._store_reason = f"artifacts cannot be read ({problem_of(error)})"
            self._store.failed(UnavailableError(self._store_reason), took_s)
        if is_refused:
            raise FilesUnavailableError(self._store_reason) from error

    def check(self) -> None:
        """Check that an upload may be tried.

        Raises:
            FilesUnavailableError: the last one failed a moment ago.
        """
        if not self.server.is_due():
            raise FilesUnavailableError(self._reason)

    def upload(
        self, task: Task, folder: str, path: str, content: bytes | Path, *, artifact: bool, figure: bool = False
    ) -> str:
        """Upload a file and return its address; see `FileUploads.upload`.

        Raises:
            FilesUnavailableError: the file storage does not answer, or did not a moment ago.
            RefusedError: it does not take this file, or no file with these credentials.
        """
        self.check()
        began = time.monotonic()
        try:
            address = self._files.upload(task, folder, path, content, artifact=artifact, figure=figure)
        except UnavailableError as error:
            self._reason = str(error)
            self.server.failed(error, time.monotonic() - began)
            raise FilesUnavailableError(self._reason) from error
        except NotAllowedError as error:
            raise RefusedError(str(error)) from error
        self.server.succeeded()
        return address
