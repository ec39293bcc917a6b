"""The end of a fork server's process: a program's end as the interpreter makes it, without what comes last.

The interpreter would empty all modules and collect the rest of MLflow's objects: in a fork that is 0.15 s of CPU time,
three quarters of that of an empty script, and the tests run two thousand of them. A test for which that counts uses
the fixture `whole_end`.

Standard library only, as `fork_server_program.py`.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import signal
import sys
import threading
import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

_FLUSH_FAILED = 120
"""The interpreter's exit code if the standard streams cannot be flushed."""


def end(program: Callable[[], object]) -> NoReturn:
    """Run a program, and end the process as the interpreter would."""
    code, interrupted = 0, False
    try:
        program()
    except SystemExit as error:
        code = _number(error.code)
    except BaseException as error:
        trace = error.__traceback__
        for _ in range(2):  # the frames of this function, and of the one that has made the program
            trace = trace and trace.tb_next
        sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
        sys.excepthook(type(error), error, trace)
        code, interrupted = 1, isinstance(error, KeyboardInterrupt)
    is_flushed = _run_exit_handlers()
    if interrupted:  # the interpreter ends by the signal
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    # C's exit handlers run, and no other thread does: this one keeps the interpreter's lock.
    ctypes.PyDLL(None).exit(code if is_flushed else _FLUSH_FAILED)
    raise AssertionError("C's exit has returned")


def _number(code: object) -> int:
    """Return the exit code that `sys.exit` with this argument means."""
    if code is None or isinstance(code, int):
        return code or 0
    print(code, file=sys.stderr)
    return 1


def _run_exit_handlers() -> bool:
    """Wait for threads, run exit handlers and flush the streams; return False if these could not be flushed."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
    except BaseException:
        print("Exception ignored in:", threading, file=sys.stderr)
        traceback.print_exc()
    atexit._run_exitfuncs()
    try:
        if sys.stdout and not sys.stdout.closed:
            sys.stdout.flush()
    except Exception:
        traceback.print_exc()
        return False
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
    return True
