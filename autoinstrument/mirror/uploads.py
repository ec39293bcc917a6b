"""Uploads to the one place for files, which is left alone for a while after it failed."""

from __future__ import annotations

import time
from pathlib import Path

from autoinstrument.mirror.backoff import Backoff
from autoinstrument.to_clearml.errors import FilesUnavailableError, NotAllowedError, RefusedError, UnavailableError
from autoinstrument.to_clearml.files import Files
from autoinstrument.to_clearml.tasks import Task


class Uploads:
    """ClearML's place for files, as all runs of a worker share it."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._reason = ""
        self.server = Backoff()

    def check(self) -> None:
        """See that an upload may be tried.

        Raises:
            FilesUnavailableError: the last one failed, a moment ago.
        """
        if not self.server.is_due():
            raise FilesUnavailableError(self._reason)

    def upload(self, task: Task, folder: str, path: str, content: bytes | Path, *, artifact: bool) -> str:
        """Upload a file and return its address; see `Files.upload`.

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
