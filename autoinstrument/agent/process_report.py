"""Describe the training process to each worker that it gets, and report changes when a run ends."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from autoinstrument.capture import own_files
from autoinstrument.capture.process import Changes, program_now, remember_main
from autoinstrument.records import ProcessChanged, ProcessStarted


class ProcessReport:
    """The description of this process, and what has changed since it was last sent."""

    def __init__(self) -> None:
        self._changes = Changes()
        self._latest: ProcessStarted | None = None
        self._callers: list[str] = []
        self._cwd = ""
        remember_main()
        with contextlib.suppress(OSError):  # the directory was deleted
            self._cwd = str(Path.cwd())

    def note_program(self) -> dict[str, Any]:
        """Return the fields of `RunStarted` about the program that begins a run on this thread.

        The code that called MLflow for the first run is remembered.
        """
        program = program_now()
        self._callers = self._callers or own_files.on_stack()
        return program

    def for_worker(self) -> ProcessStarted:
        """Return the whole description, for a worker that knows nothing yet."""
        self._changes = Changes()
        self._latest = self._changes.describe(self._cwd, self._callers)
        return self._latest

    def latest(self) -> ProcessStarted:
        """Return the description that was sent last, or make it where there was no worker to send it to."""
        if self._latest is None:
            self._latest = self._changes.describe(self._cwd, self._callers)
        return self._latest

    def changes(self) -> ProcessChanged:
        """Return what has changed since the last report."""
        return self._changes.changed()
