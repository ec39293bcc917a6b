"""Keep the agent's own errors out of the user's code: one guard, one logger, one count.

Everything that the agent does on the user's threads, and everything in its background threads, runs inside `guard`.
What goes wrong there is counted, said once a place in one line on stderr, and never raised.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import Counter
from types import TracebackType

from autoinstrument.steps import note

errors: Counter[str] = Counter()
"""How often something went wrong, by place."""


class _StderrHandler(logging.Handler):
    """Write to whatever `sys.stderr` is at that moment; stay silent where there is none."""

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stderr
        if stream is not None:
            try:
                from autoinstrument.capture.secrets import hide_in_text  # a driver's errors quote its addresses

                stream.write(f"autoinstrument: {hide_in_text(record.getMessage())}\n")
                stream.flush()
            except Exception:  # noqa: S110  (a closed or broken stderr is the user's affair, and no reason to raise)
                pass


def logger() -> logging.Logger:
    """Return the logger `autoinstrument`: stderr at level INFO unless the application configured it itself."""
    log = logging.getLogger("autoinstrument")
    if not log.handlers:
        log.addHandler(_StderrHandler())
        log.propagate = False
        if log.level == logging.NOTSET:
            log.setLevel(logging.INFO)
    return log


class guard:  # noqa: N801  (reads as a statement: `with guard("metrics"):`)
    """Context in which an `Exception` is counted and logged instead of raised.

    `KeyboardInterrupt` and `SystemExit` are the user's and pass. Our own code is behind this guard and nothing else:
    the user's call (the wrapped MLflow function) always runs outside it.
    """

    __slots__ = ("place",)

    def __init__(self, place: str) -> None:
        self.place = place

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is None:
            return False
        if not isinstance(error, Exception):
            return False
        errors[self.place] += 1
        note("error", f"{self.place}: {type(error).__name__}: {error}")
        if errors[self.place] == 1:
            try:
                logger().warning("%s failed, training goes on (%s: %s)", self.place, type(error).__name__, error)
                logger().debug("%s failed", self.place, exc_info=error)
            except Exception:  # noqa: S110  (logging is the last resort; there is nowhere else to say it)
                pass
        return True


_local = threading.local()


class ourselves:  # noqa: N801  (reads as a statement: `with ourselves():`)
    """Context in which calls to MLflow are the agent's own and must not be seen as the user's.

    What MLflow and the libraries below it log of such a call, failed statements with tracebacks for instance, reaches
    no handler: the agent reports its own errors, and the user's log is about the user's calls.
    """

    def __enter__(self) -> None:
        _local.depth = getattr(_local, "depth", 0) + 1
        _keep_quiet()

    def __exit__(self, *_: object) -> None:
        _local.depth -= 1


def is_ourselves() -> bool:
    """Tell whether this thread is inside `ourselves()`."""
    return getattr(_local, "depth", 0) > 0


class _NotOurCalls(logging.Filter):
    """Drop what is logged inside `ourselves()`."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not is_ourselves()


_LIBRARIES = ("mlflow", "alembic", "sqlalchemy", "urllib3")
_not_our_calls = _NotOurCalls()
_loggers_seen = 0


def _keep_quiet() -> None:
    """Put the filter on all loggers of the libraries: one on a parent or on a handler would not do, or be the user's.

    A logger asks its own filters alone, and loggers appear as modules are imported.
    """
    global _loggers_seen
    loggers = logging.root.manager.loggerDict
    if len(loggers) == _loggers_seen:
        return
    _loggers_seen = len(loggers)
    for name, log in list(loggers.items()):
        if name.partition(".")[0] in _LIBRARIES and isinstance(log, logging.Logger):
            log.addFilter(_not_our_calls)  # nothing where it is there already
