"""Signals to the worker process: they are meant for the training, and SIGTERM says that a grace period has begun.

Schedulers signal all processes of a job (`scancel`, `docker stop`, systemd), also to request a checkpoint. The worker
ends when the training processes are gone and everything is delivered; SIGKILL, which schedulers send at the end of the
grace period, ends it at once.
"""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType

_KEPT = (
    "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP",  # errors of the process itself
    "SIGCHLD", "SIGKILL", "SIGSTOP",
    "SIGPIPE", "SIGXFSZ",  # Python ignores them, and `subprocess` resets them
)  # fmt: skip
_GRACE_S = 600.0
"""A worker that still runs so long after SIGTERM was not killed: the signal was not the beginning of the end."""


class Termination:
    """The grace period in which the worker may be killed."""

    def __init__(self) -> None:
        self._requested_at: float | None = None

    @property
    def is_requested(self) -> bool:
        """True for ten minutes after SIGTERM or SIGINT: what has arrived must be delivered without a pause."""
        return self._requested_at is not None and time.monotonic() - self._requested_at < _GRACE_S

    def request(self, number: int = 0, frame: FrameType | None = None) -> None:
        """Note that a grace period begins; also the handler of the signals."""
        self._requested_at = time.monotonic()


termination = Termination()
"""That of this process; nothing is requested where the worker is a thread."""


def ignore_signals() -> None:
    """Handle all signals that can be, and unblock those that were blocked at the start."""
    if sys.platform == "win32":
        return
    # Handlers that do nothing instead of SIG_IGN, which programs started by the worker would inherit.
    for number in signal.valid_signals() - {getattr(signal, name, 0) for name in _KEPT}:
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, termination.request)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # some trainings ignore it, and exit codes would be lost
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
