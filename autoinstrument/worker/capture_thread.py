"""Capture a process's code and packages on a separate thread: on a slow file system Git takes a minute."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from autoinstrument.capture.imports import imported_by
from autoinstrument.capture.requirements import Requirements, packages_of
from autoinstrument.capture.script_section import DiffSettings, Script, without_arguments
from autoinstrument.guard import guard
from autoinstrument.records import ProcessStarted

_PATIENCE_S = 2.0
"""How long a Task waits for the capture, which usually takes 0.3 s. After that it is made without an answer of Git."""


class _Job(NamedTuple):
    started: ProcessStarted
    modules: Collection[str]
    programs: dict[str, ProcessStarted]
    packages: bool


class CaptureThread:
    """Holds what was captured of a process so far, and starts a thread to capture more.

    Attributes:
        code: script sections without arguments, by the key of the program: "" is the process's own. A program is in it
            from the moment it was asked for.
        packages: empty until they are known.
    """

    def __init__(self, diffs: Callable[[], DiffSettings], lacks: Callable[[str], object]) -> None:
        """`diffs` and `lacks` as in `without_arguments`; the latter is called on the capturing thread."""
        self.code: dict[str, Script] = {}
        self.packages = Requirements("", "")
        self._diffs, self._lacks = diffs, lacks
        self._settings = DiffSettings()
        self._knows = threading.Event()
        self._changed = threading.Condition()
        self._next: _Job | None = None
        self._busy = self._is_new = False

    @property
    def is_busy(self) -> bool:
        """True while something is being captured or was not taken yet: until then no Task is complete."""
        return self._busy or self._is_new

    def ask(
        self,
        started: ProcessStarted,
        modules: Collection[str],
        *,
        programs: Mapping[str, ProcessStarted],
        packages: bool,
    ) -> None:
        """Capture code or packages as they are now, and wait for that, `_PATIENCE_S` at most.

        If something is being captured already, this request is next and is not waited for.

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
            is_idle, self._busy = not self._busy, True
        if is_idle:
            threading.Thread(target=self._work, name="autoinstrument-capture", daemon=True).start()
            if not self._knows.is_set():
                # On this thread: it may import clearml, which two threads must not do at the same time.
                with guard("reading ClearML's configuration"):
                    self._settings = self._diffs()
                self._knows.set()
            with self._changed:
                self._changed.wait_for(lambda: not self._busy, _PATIENCE_S)
                self._is_new = False
        for program, described in programs.items():
            if program not in self.code:
                with guard("capturing the code"):
                    script = without_arguments(described, lambda: self._settings, by_git=False)
                    with self._changed:
                        self.code.setdefault(program, script)

    def take(self) -> bool:
        """Return True, once, if a capture that `ask` did not wait for has ended, successfully or not."""
        with self._changed:
            is_new, self._is_new = self._is_new, False
            return is_new

    def _work(self) -> None:
        while True:
            with self._changed:
                job, self._next = self._next, None
                if job is None:
                    self._busy, self._is_new = False, True
                    self._changed.notify_all()
                    return
            for program, described in job.programs.items():
                with guard("capturing the code"):
                    code = without_arguments(described, self._known_settings, self._lacks)
                    with self._changed:
                        self.code[program], self._is_new = code, True
            if job.packages:
                with guard("capturing the packages"):
                    packages = _packages(job.started, job.modules)
                    with self._changed:
                        self.packages, self._is_new = packages, True

    def _known_settings(self) -> DiffSettings:
        self._knows.wait()
        return self._settings


def _packages(started: ProcessStarted, modules: Collection[str]) -> Requirements:
    sys_path = [os.path.join(started.cwd, entry) for entry in started.sys_path]  # noqa: PTH118  ("" stays "")
    return packages_of(modules, sys_path, imported_by(started), started.python)
