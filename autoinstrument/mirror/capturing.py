"""Capture a process's code and packages beside everything else: on a slow file system Git takes a minute."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import NamedTuple

from autoinstrument.capture.packages import Packages, packages_of
from autoinstrument.guard import guard
from autoinstrument.records import ProcessStarted
from autoinstrument.to_clearml.script import Script, without_arguments

_PATIENCE_S = 2.0
"""How long a Task waits for the capture; it takes 0.3 s as a rule. After that the Task is made with what files say."""


class _Job(NamedTuple):
    started: ProcessStarted
    modules: Collection[str]
    code: bool
    packages: bool


class Capturing:
    """What was captured of a process so far, and the thread that captures more.

    Attributes:
        code: None until it was asked for.
        packages: empty until they are known.
    """

    def __init__(self, from_remote: Callable[[], bool], lacks: Callable[[str], object]) -> None:
        """`from_remote` and `lacks` as in `without_arguments`; the latter is called on the capturing thread."""
        self.code: Script | None = None
        self.packages = Packages("", "")
        self._from_remote, self._lacks = from_remote, lacks
        self._wants_remote = False
        self._knows = threading.Event()
        self._changed = threading.Condition()
        self._next: _Job | None = None
        self._busy = self._is_new = False

    @property
    def is_busy(self) -> bool:
        """True while more is to come."""
        return self._busy

    def ask(self, started: ProcessStarted, modules: Collection[str], *, code: bool, packages: bool) -> None:
        """Have code or packages captured as they are now; wait for it, `_PATIENCE_S` at most.

        Where something is being captured already, this comes next, and is not waited for.
        """
        with self._changed:
            before = self._next
            code, packages = code or bool(before and before.code), packages or bool(before and before.packages)
            self._next = _Job(started, frozenset(modules), code, packages)
            if self._busy:
                return
            self._busy = True
        threading.Thread(target=self._work, name="autoinstrument-capture", daemon=True).start()
        if not self._knows.is_set():
            # Here, because it may import clearml, which no other thread may be doing at the same time.
            with guard("reading ClearML's configuration"):
                self._wants_remote = self._from_remote()
            self._knows.set()
        with self._changed:
            self._changed.wait_for(lambda: not self._busy, _PATIENCE_S)
            self._is_new = False
        if code and self.code is None:
            with guard("capturing the code"):
                script = without_arguments(started, by_git=False)
                with self._changed:
                    self.code = self.code or script

    def take(self) -> bool:
        """Return True, once, if something was captured, or failed to be, that `ask` did not wait for."""
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
            if job.code:
                with guard("capturing the code"):
                    code = without_arguments(job.started, self._is_from_remote, self._lacks)
                    with self._changed:
                        self.code, self._is_new = code, True
            if job.packages:
                with guard("capturing the packages"):
                    packages = packages_of(job.modules, job.started.sys_path)
                    with self._changed:
                        self.packages, self._is_new = packages, True

    def _is_from_remote(self) -> bool:
        self._knows.wait()
        return self._wants_remote
