"""The cause of the training process's end, as far as the process itself knows it."""

from __future__ import annotations

import sys
import traceback

from autoinstrument.records import ProcessExiting

_LONGEST = 64_000
"""Characters of a traceback that are sent: its end."""


def exiting(wait_s: float) -> ProcessExiting:
    """Return the report of a process that ends, and waits `wait_s` seconds for its worker."""
    # An interactive interpreter and a notebook keep the exception of some earlier input.
    last = None if hasattr(sys, "ps1") or "ipykernel" in sys.modules else getattr(sys, "last_value", None)
    if not isinstance(last, BaseException):
        return ProcessExiting("", False, wait_s)
    error = "".join(traceback.format_exception(last))[-_LONGEST:]
    return ProcessExiting(error, isinstance(last, KeyboardInterrupt), wait_s)
