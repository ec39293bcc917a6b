"""Capture the console of a Python process that has no agent, and belongs to a process that has begun a run.

It may be any Python below a training, so this costs next to nothing until something is written, and less than the full
capture (`capture.console`) then: only the interpreter's own two streams count. If the process imports MLflow, its agent
takes over.
"""

from __future__ import annotations

import atexit
import os
import sys
import time

from autoinstrument.bootstrap.training_around import rank
from autoinstrument.child_console import marks

TYPE_CHECKING = False  # type checkers take it for typing's
if TYPE_CHECKING:
    from typing import Any

    from autoinstrument.child_console.link import ConsoleLink, Text

_MOST_BYTES = 2**20
_capture: PlainCapture | None = None


def begin() -> None:
    """Capture from now on, if this process may belong to another one's run."""
    global _capture
    mode = os.environ.get("AUTOINSTRUMENT_CONSOLE", "").strip().lower()
    if mode == "descriptors" and rank(os.environ) and not marks.is_relayed():
        from autoinstrument.child_console import descriptors
        from autoinstrument.child_console.process_name import process_name

        atexit.register(descriptors.capture(process_name()).detach)
    elif _capture is None and mode in ("", "python") and may_belong():
        _capture = PlainCapture()


def may_belong() -> bool:
    """Return True if this process's console may belong to the run of another process."""
    # A rank, or a worker of multiprocessing, may exist before the run begins.
    if rank(os.environ) or "--multiprocessing-fork" in sys.orig_argv:
        return True
    return marks.find() is not None


def end() -> list[Text]:
    """Stop capturing, because this process has an agent now; return the text that was not sent."""
    global _capture
    if _capture is None:
        return []
    capture, _capture = _capture, None
    return capture.end()


class PlainCapture:
    """Methods over those of the interpreter's streams, which call the original ones first."""

    def __init__(self) -> None:
        self._link: ConsoleLink | None = None
        self._buffers: list[tuple[Any, Any]] = []
        self._is_on = True
        for name in ("stdout", "stderr"):
            buffer = getattr(getattr(sys, f"__{name}__", None), "buffer", None)
            if buffer is not None:
                try:
                    write = self._over(buffer.write, name)
                    buffer.write = write
                except Exception:  # noqa: S112  (a stream that takes no attribute is left alone)
                    continue
                self._buffers.append((buffer, write))
        # The interpreter would flush a moment later, when modules cannot be imported any more.
        atexit.register(self._flush)

    def end(self) -> list[Text]:
        """Leave the streams as they were found; return the text that was not sent."""
        self._is_on = False
        atexit.unregister(self._flush)
        for buffer, write in self._buffers:
            if vars(buffer).get("write") is write:
                del buffer.write
        if self._link is None:
            return []
        texts = self._link.take()
        self._link.close()
        return texts

    def _over(self, original: Any, name: str) -> Any:
        decoder: Any = None

        def write(data: Any, /) -> Any:
            nonlocal decoder
            written = original(data)
            if self._is_on:
                try:
                    if decoder is None:
                        import codecs

                        decoder = codecs.getincrementaldecoder("utf-8")("replace")
                    text = decoder.decode(bytes(memoryview(data).cast("B")[: min(written or 0, _MOST_BYTES)]))
                    if text:
                        self._hand_on(name, text)
                except Exception:  # noqa: S110  (the data has been written: for the writer all is well)
                    pass
            return written

        return write

    def _hand_on(self, name: str, text: str) -> None:
        if self._link is None:
            from autoinstrument.child_console.link import ConsoleLink

            self._link = ConsoleLink()
        self._link.write(name, text, int(time.time() * 1000))

    def _flush(self) -> None:
        for name in ("stdout", "stderr"):  # not replaced ones: the interpreter does not flush them, either
            try:
                getattr(sys, name).flush()
            except Exception:  # noqa: S112  (the interpreter will say so)
                continue
        if self._link is not None:
            self._link.send()
