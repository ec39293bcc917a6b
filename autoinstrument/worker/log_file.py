"""The log of the workers: `worker.log` in AUTOINSTRUMENT_HOME, because a worker has no stderr."""

from __future__ import annotations

import io
import logging
import logging.handlers
import os
from pathlib import Path
from typing import TextIO

from autoinstrument import atomic_file
from autoinstrument.journal.state_folder import private_folder
from autoinstrument.scrubber import hide_in_text

_MOST_BYTES = 2**20


class WorkerLog(logging.handlers.RotatingFileHandler):
    """Appends to the file, which several workers share; the one that fills it renames it to `worker.log.1`.

    Raises:
        OSError: the folder cannot be written, or belongs to another user.
    """

    def __init__(self, folder: Path) -> None:
        private_folder(folder, home=folder)
        super().__init__(
            folder / "worker.log", maxBytes=_MOST_BYTES, backupCount=1, encoding="utf-8", errors="backslashreplace"
        )
        self.setFormatter(_Formatter("%(asctime)s [%(process)d] %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record to the present file, which may not be the one that is open."""
        try:
            if self.stream is not None and not self._is_present(self.stream):
                self.stream.close()
                self.stream = self._open()
        except OSError:  # the folder is gone, or the disk is full
            self.handleError(record)
        else:
            super().emit(record)

    def _open(self) -> io.TextIOWrapper:
        """Open the file, unless it is a link: the folder may be one in which others may write, too."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | atomic_file.FLAGS
        file = os.fdopen(os.open(self.baseFilename, flags, 0o600), "ab")
        return io.TextIOWrapper(file, encoding=self.encoding, errors=self.errors)

    def _is_present(self, stream: TextIO) -> bool:
        try:
            return os.path.samestat(Path(self.baseFilename).stat(), os.fstat(stream.fileno()))
        except (OSError, ValueError):  # another worker is renaming it, or a person has removed it
            return False


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return hide_in_text(super().format(record))
