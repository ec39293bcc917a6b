"""Capture a process's code and packages on a separate thread: on a slow file system Git takes a minute."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from autoinstrument.capture.code import code_of
from autoinstrument.capture.environment_variables import chosen
from autoinstrument.capture.imports import imported_by
from autoinstrument.capture.lock_files import lock_files_without_this_package
from autoinstrument.capture.requirements import Requirements, packages_of
from autoinstrument.capture.script_section import Script, without_arguments
from autoinstrument.capture.settings import CaptureSettings
from autoinstrument.guard import guard
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.process_identity import environment_of
from autoinstrument.records import ProcessStarted
from autoinstrument.worker.gpu_list import gpus
from autoinstrument.worker.jobs import Jobs, for_captures
from autoinstrument.worker.machine_specs import Specs, machine_specs

PATIENCE_S = 2.0
"""How long a Task waits for the capture, which usually takes 0.3 s. After that it is made without an answer of Git."""
WHOLE_S = 0.5
"""How long the first part of a capture waits for the rest, so that a Task is made with all of it: in one request, and
not in five."""


class _Job(NamedTuple):
    started: ProcessStarted
    modules: Collection[str]
    programs: dict[str, ProcessStarted]
    packages: bool


class CaptureThread:
    """Holds what was captured of a process so far, and has more captured on a thread.

    Attributes:
        code: script sections without arguments, by the key of the program: "" is the process's own.
        packages: empty until they are known.
        specs: runtime properties that describe the process's machine; empty until they are known.
        variables: environment variables, empty until they are known.
    """

    def __init__(
        self,
        settings: Callable[[], CaptureSettings],
        lacks: Callable[[str], object],
        *,
        captures: Jobs | None = None,
        wake: Callable[[], object] = lambda: None,
    ) -> None:
        """Capture nothing yet.

        Args:
            settings: as in `without_arguments`; called on the capturing thread.
            lacks: as in `without_arguments`; called on the capturing thread.
            captures: the threads.
            wake: called on the capturing thread when everything was captured.
        """
        self._captures = captures or for_captures()
        self.code: dict[str, Script] = {}
        self.packages = Requirements("", "")
        self.specs: Specs = {}
        self.variables: dict[str, str] = {}
        self._read_settings, self._lacks, self._wake = settings, lacks, wake
        self._asked: set[str] = set()
        self._settings: CaptureSettings | None = None
        self._changed = threading.Lock()
        self._next: _Job | None = None
        self._busy = False
        self._captured = self._described = 0
        self._whole_by = 0.0

    @property
    def is_busy(self) -> bool:
        """True while something is being captured, or no run was described by it yet: until then no Task is complete."""
        return self._busy or self._described < self._captured

    def was_asked(self, program: str) -> bool:
        """Return True if a program's code is known, or will be."""
        return program in self._asked

    def ask(
        self,
        started: ProcessStarted,
        modules: Collection[str],
        *,
        programs: Mapping[str, ProcessStarted],
        packages: bool,
    ) -> None:
        """Request a capture of code or packages as they are now; if one is in progress, this one is next.

        Args:
            started: the process.
            modules: names of the modules that it has loaded.
            programs: the process as described for each program whose code is wanted, by the program's key.
            packages: whether packages are wanted.
        """
        with self._changed:
            before = self._next
            wanted = {**before.programs, **programs} if before else dict(programs)
            self._next = _Job(started, frozenset(modules), wanted, packages or bool(before and before.packages))
            self._asked.update(programs)
            is_idle, self._busy = not self._busy, True
            if is_idle:
                self._whole_by = time.monotonic() + WHOLE_S
        if is_idle:
            self._captures.submit(self._work)

    def do_without_git(self, program: str, described: ProcessStarted) -> None:
        """Take the code of a program as far as it is known without Git, until Git has answered."""
        if program not in self.code:
            with guard("capturing the code"):
                # Code that ClearML's configuration may keep here waits until that has been read.
                settings = self._settings or CaptureSettings(stored=False)
                script = without_arguments(described, lambda: settings, by_git=False)
                with self._changed:
                    self.code.setdefault(program, script)

    @property
    def news(self) -> int:
        """How often something was captured, successfully or not.

        It is 0 if runs were described by all of it, or if the rest will probably be captured soon.
        """
        with self._changed:
            waits = self._busy and time.monotonic() < self._whole_by
            return self._captured if self._described < self._captured and not waits else 0

    @property
    def whole_by(self) -> float:
        """When the first part of a capture stops waiting for the rest, by the monotonic clock; inf if none waits."""
        with self._changed:
            return self._whole_by if self._busy and time.monotonic() < self._whole_by else math.inf

    def note_described(self, news: int) -> None:
        """Note that runs were described by what was captured when `news` had this value."""
        with self._changed:
            self._described = news

    def _work(self) -> None:
        while True:
            with self._changed:
                job, self._next = self._next, None
                if job is None:
                    self._busy = False
                    self._captured += 1
                    break
            with guard("reading ClearML's configuration"):
                self._known_settings()  # first: Git may take a minute, and what is known without it depends on them
                self._capture_variables(job.started)
            for program, described in job.programs.items():
                with guard("capturing the code"):
                    code = without_arguments(described, self._known_settings, self._lacks)
                    with self._changed:
                        self.code[program] = code
                        self._captured += 1
            if job.packages:
                with guard("capturing the packages"), self._captures.once:
                    packages = _packages(job.started, job.modules, frozen=self._known_settings().pip_freeze)
                    with self._changed:
                        self.packages = packages
                        self._captured += 1
            if not self.specs:
                with guard("describing the machine"):
                    in_training = job.started.pid == os.getpid()  # the driver's library is not loaded there
                    self.specs = machine_specs(job.started, [] if in_training else gpus())
        self._wake()

    def _known_settings(self) -> CaptureSettings:
        if self._settings is None:
            self._settings = self._read_settings()
        return self._settings

    def _capture_variables(self, started: ProcessStarted) -> None:
        wanted = self._known_settings().variables
        if wanted and not self.variables:
            self.variables = chosen(environment_of(started.pid, started.started_ms), wanted)


def _packages(started: ProcessStarted, modules: Collection[str], *, frozen: bool) -> Requirements:
    sys_path = [os.path.join(started.cwd, entry) for entry in started.sys_path]  # noqa: PTH118  ("" stays "")
    comments = lock_files_without_this_package(code_of(started, Path(started.cwd)).folder)
    return packages_of(modules, sys_path, imported_by(started), started.python, frozen=frozen, comments=comments)
