"""Keep the agent's own errors out of the user's code: one guard, one logger, one count.

Everything that the agent does on the user's threads, and everything in its background threads, runs inside `guard`.
Errors there are counted, logged once per place in one line on stderr, and never raised.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections import Counter
from types import TracebackType
from typing import TextIO

from autoinstrument.bootstrap.explain_log import note
from autoinstrument.notebook_output import is_page, show

_CONTROL = (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Control characters, and those that change the direction of writing."""
_ESCAPED = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _CONTROL}

errors: Counter[str] = Counter()
"""Number of errors by place, the name that `guard` was given."""


def _file_of_stderr() -> tuple[int, int] | None:
    """Return device and inode of the file behind descriptor 2, None where the descriptor is closed."""
    try:
        found = os.fstat(2)
    except OSError:
        return None
    return found.st_dev, found.st_ino


_file_at_start, _stream_at_start = _file_of_stderr(), sys.stderr


def stderr_was_moved() -> None:
    """Note that the agent has put another file behind descriptor 2, which leads to this process's own stderr."""
    global _file_at_start
    _file_at_start = _file_of_stderr()


def _own_stderr() -> TextIO | None:
    """Return the stream that leads to this process's own stderr, None where it is gone.

    That need not be the present `sys.stderr`: a `redirect_stderr` block or a test may have replaced it. Nor descriptor
    2, which may be another file by now: a test captures it, or the script has closed it and opened a file.
    """
    for page in (sys.stderr, _stream_at_start):
        if is_page(page):  # descriptor 2 is the log of the notebook's server
            return page
    if _file_at_start is not None and _file_of_stderr() == _file_at_start:
        for stream in (sys.__stderr__, sys.stderr):  # the first may be detached, and the second its substitute
            with contextlib.suppress(Exception):  # there is none, it is closed, or it has no descriptor
                if stream is not None and stream.fileno() == 2:
                    return stream
    return None


def _write(stream: TextIO, line: str) -> None:
    stream.write(f"{line}\n")
    stream.flush()


def visible(text: str) -> str:
    """Return a text in one line whose control characters are escaped: a terminal would obey those in a run's name."""
    return " ".join(text.splitlines()).translate(_ESCAPED)


class _StderrHandler(logging.Handler):
    """Write to the process's own stderr; stay silent where it is gone."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            stream = _own_stderr()
            if stream is not None:
                from autoinstrument.scrubber import hide_in_text  # a driver's errors quote its addresses

                line = f"autoinstrument: {hide_in_text(visible(record.getMessage()))}"
                if is_page(stream):
                    pages = (getattr(argument, "_repr_html_", str) for argument in record.args or ())
                    show(lambda: _write(stream, line), line, hide_in_text("".join(page() for page in pages)))
                else:
                    _write(stream, line)
        except Exception:  # noqa: S110  (a closed or broken stderr is no reason to raise in the user's code)
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


def be_quiet() -> None:
    """Log only problems from now on."""
    logging.getLogger("autoinstrument").setLevel(logging.WARNING)


_VARARGS = 0x04
"""`inspect.CO_VARARGS`; that module takes long to import."""


def is_of_handler(error: BaseException) -> bool:
    """Return True if a signal handler of the script's has raised an exception, such as that of a time limit.

    Python runs handlers between any two instructions of the main thread, the agent's too. A handler is known by its
    argument: the frame that it interrupts.
    """
    entry = error.__traceback__
    while entry is not None and entry.tb_next is not None:
        interrupted, entry = entry.tb_frame, entry.tb_next
        code, values = entry.tb_frame.f_code, entry.tb_frame.f_locals
        arguments = [values.get(name) for name in code.co_varnames[: code.co_argcount]]
        if code.co_flags & _VARARGS:
            arguments += values.get(code.co_varnames[code.co_argcount + code.co_kwonlyargcount], ())
        if any(argument is interrupted for argument in arguments):
            return True
    return False


def count(place: str, error: Exception) -> None:
    """Count an error of the agent's, which the caller logs."""
    errors[place] += 1
    note("error", f"{place}: {type(error).__name__}: {error}")


def swallow(place: str, error: BaseException) -> bool:
    """Count and log an error of the agent's; return False if it is the user's, and must be raised again."""
    if not isinstance(error, Exception) or is_of_handler(error):
        return False
    count(place, error)
    if errors[place] == 1:
        try:
            text = str(error).partition("\n")[0]  # errors of databases have their statements below
            logger().warning("%s failed, training goes on (%s: %s)", place, type(error).__name__, text)
            logger().debug("%s failed", place, exc_info=error)
        except Exception:  # noqa: S110  (there is no other way to report it)
            pass
    return True


class guard:  # noqa: N801  (reads as a statement: `with guard("metrics"):`)
    """Context in which an `Exception` is counted and logged instead of raised.

    `KeyboardInterrupt` and `SystemExit` are the user's, and pass, and so does what the user's signal handlers raise.
    Only the agent's own code runs inside: the user's call (the wrapped MLflow function) always runs outside.

    Args:
        place: what the code inside does, as in "mirroring log_metric"; errors are counted by it, and logged with it.
    """

    __slots__ = ("place",)

    def __init__(self, place: str) -> None:
        self.place = place

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        return error is not None and swallow(self.place, error)


_local = threading.local()


class own_calls:  # noqa: N801  (reads as a statement: `with own_calls():`)
    """Context in which calls to MLflow are the agent's own and must not be mirrored as the user's.

    Whatever MLflow and the libraries below it log about such a call (failed statements with tracebacks, for instance)
    reaches no handler: the agent reports its own errors, and the user's log is about the user's calls.
    """

    def __enter__(self) -> None:
        _local.depth = getattr(_local, "depth", 0) + 1
        _keep_quiet()

    def __exit__(self, *_: object) -> None:
        _local.depth -= 1


def is_own_call() -> bool:
    """Return True if this thread is inside `own_calls()`."""
    return getattr(_local, "depth", 0) > 0


class _NotOwnCalls(logging.Filter):
    """Drop what is logged inside `own_calls()`."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not is_own_call()


_LIBRARIES = ("mlflow", "alembic", "sqlalchemy", "urllib3")
_not_own_calls = _NotOwnCalls()
_loggers_seen = 0


def _keep_quiet() -> None:
    """Put the filter on all loggers of the libraries.

    A logger asks only its own filters, not its parent's, and handlers are the user's. Loggers are made as modules are
    imported, so that this is repeated.
    """
    global _loggers_seen
    loggers = logging.root.manager.loggerDict
    if len(loggers) == _loggers_seen:
        return
    _loggers_seen = len(loggers)
    for name, log in list(loggers.items()):
        if name.partition(".")[0] in _LIBRARIES and isinstance(log, logging.Logger):
            log.addFilter(_not_own_calls)  # changes nothing where it has the filter
