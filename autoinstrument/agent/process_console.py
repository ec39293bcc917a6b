"""Send the console text of this process to the runs that it belongs to: its own, or those of another process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from autoinstrument.capture.console import ConsoleCapture
from autoinstrument.child_console import descriptors, marks, plain_capture
from autoinstrument.child_console.descriptors import Descriptors
from autoinstrument.child_console.link import ConsoleLink, NewestTexts, Text
from autoinstrument.child_console.process_name import process_name
from autoinstrument.guard import guard, logger
from autoinstrument.records import ConsoleAwaited, ConsoleWritten
from autoinstrument.settings import Settings


class ProcessConsole:
    """Captures the console, and decides over which connection its text goes.

    With `AUTOINSTRUMENT_CONSOLE=descriptors` a relay does all that, and no text passes here.

    A process that may have been started by one with a run, or beside it (`plain_capture.may_belong`), sends its text
    there by a `ConsoleLink`, until it begins a run itself: that run gets all of its text, also the text from before.

    Args:
        settings: of this process.
        take: called with stream and text of everything that is written; calls `route`.
        post: posts a record for this process's own runs.
    """

    def __init__(
        self,
        settings: Settings,
        take: Callable[[str, str], None],
        post: Callable[[ConsoleWritten | ConsoleAwaited], None],
    ) -> None:
        self._post = post
        self._console = ConsoleCapture(take)
        self._mode = settings.console
        self._descriptors: Descriptors | None = None
        self._link = ConsoleLink()
        # A relay has what a process writes that has inherited its descriptors.
        self._belongs = self._mode == "python" and plain_capture.may_belong()
        self._is_own = False
        self._held = NewestTexts()
        self._holding = threading.Lock()
        """Never waited for; held by the thread that drops the oldest text."""
        for text in plain_capture.end():
            self._link.write(*text)
        with guard("capturing the console"):
            if self._mode == "descriptors" and (descriptors.captured() or not marks.is_relayed()):
                self._take_descriptors()
            if self._mode == "python":
                self._console.attach()

    def look(self) -> None:
        """Follow if the script has replaced its streams; costs two comparisons."""
        if self._mode == "python":
            self._console.look()

    def run_ends(self) -> None:
        """See to it that what was written so far arrives before the end of a run."""
        if self._descriptors is not None:
            self._descriptors.drain()
            self._await_relay(self._descriptors)
        self.look()

    def follow(self) -> None:
        """Capture the streams that `sys` has by now."""
        if self._mode == "python":
            with guard("following the console"):
                self._console.follow()

    def detach(self) -> None:
        """Stop capturing."""
        if self._descriptors is not None:
            self._descriptors.detach()
            self._await_relay(self._descriptors)
        elif self._mode == "python":
            self._console.detach()
            self._link.send()

    def route(self, stream: str, text: str) -> None:
        """Send text to the runs to which it belongs."""
        written = ConsoleWritten(stream, text, int(time.time() * 1000))
        if self._is_own or not (self._belongs or self._link.forked_by):
            self._post(written)
            return
        self._hold((stream, text, written.time_ms))
        self._link.write(stream, text, written.time_ms)

    def run_began(self, *, owned: bool) -> None:
        """Note that the process has begun a run, or logs to one of another process; after that run was posted.

        The text from before belongs to it too, unless that process gets the text anyway.
        """
        if self._mode == "descriptors" and owned:
            with guard("capturing the console"):
                self._take_descriptors()
            if self._descriptors is not None:
                self._descriptors.run_began()
        if self._is_own or not (owned or not self._link.is_connected):
            return
        self._is_own = True
        self._link.close()
        self._link.take()
        for text in self._held.take():
            self._post(ConsoleWritten(*text))

    def forked(self) -> None:
        """Go on as a forked child, whose text belongs to the runs of its parent; the link knows that by itself."""
        self._is_own = False
        self._descriptors = None  # the child's are relayed like its parent's
        self._held, self._holding = NewestTexts(), threading.Lock()

    def _await_relay(self, captured: Descriptors) -> None:
        """Let the worker take the relay's text before anything that is posted from now on."""
        if captured.marked:
            self._post(ConsoleAwaited(captured.pid, captured.marked))

    def _take_descriptors(self) -> None:
        if self._descriptors is not None or os.environ.get("CLEARML_TASK_ID"):  # a ClearML agent reads them
            return
        try:
            self._descriptors = descriptors.capture(process_name())
        except OSError as error:
            self._mode = "python"
            logger().warning("the console is captured as with AUTOINSTRUMENT_CONSOLE=python: %s", error)

    def _hold(self, text: Text) -> None:
        self._held.add(text)
        if self._holding.acquire(blocking=False):
            try:
                self._held.drop_oldest()
            finally:
                self._holding.release()
