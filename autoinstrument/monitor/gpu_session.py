"""The session with the library of the GPUs' driver: begun when it is needed, ended when it is not or has failed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from autoinstrument.guard import logger
from autoinstrument.monitor.amd import AmdGpus
from autoinstrument.monitor.gpus import Gpu, GpuLibrary
from autoinstrument.monitor.nvidia import NvidiaGpus
from autoinstrument.monitor.power_management import are_asleep, may_sleep

_RETRY_S = 60.0
"""Pause after a failure: a driver that was reset needs some seconds."""
_SLEEPERS_S = 30.0
"""Seconds between two readings of GPUs that may fall asleep."""
LIBRARIES: tuple[type[GpuLibrary], ...] = (NvidiaGpus, AmdGpus)


class GpuSession:
    """Reads the GPUs of the machine, on one thread.

    Attributes:
        gpus: all GPUs at the last reading; empty while none can be read.
    """

    def __init__(self, libraries: Sequence[type[GpuLibrary]] = LIBRARIES) -> None:
        self.gpus: list[Gpu] = []
        self._libraries = libraries
        self._session: GpuLibrary | None = None
        self._next_at = 0.0
        self._has_logged = False

    def read(self, *, processes: bool) -> list[Gpu]:
        """Return all GPUs; [] if none answers, or now is no time to ask.

        Args:
            processes: see `GpuLibrary.read`.
        """
        if time.monotonic() < self._next_at:
            return []
        session = self._session or self._begin()
        if session is None:
            return []
        try:
            self.gpus = session.read(processes=processes)
        except Exception as error:  # each library has its own
            self._fail(session, error)
            return []
        if may_sleep(session.driver):
            self.close()
            self._next_at = time.monotonic() + _SLEEPERS_S
        return self.gpus

    def close(self) -> None:
        """End the session, so that the GPUs may sleep; the next reading begins another one."""
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(Exception):  # each library has its own
                session.close()

    def _begin(self) -> GpuLibrary | None:
        for library in self._libraries:
            if are_asleep(library.driver):
                continue
            with contextlib.suppress(Exception):  # there is no such library, or no such driver
                self._session = library()
                if self._session.read(processes=False):
                    return self._session
            self.close()
        self._next_at = time.monotonic() + _RETRY_S
        return None

    def _fail(self, session: GpuLibrary, error: Exception) -> None:
        self.gpus = []
        self.close()
        self._next_at = time.monotonic() + _RETRY_S
        if not self._has_logged:
            self._has_logged = True
            logger().warning("%s does not answer, GPU figures are missing meanwhile: %s", session.library, error)
