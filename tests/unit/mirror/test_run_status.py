"""Reason and message of a failed Task are the line of the traceback that names the exception."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from autoinstrument.mirror.mapping.run_status import of_error, of_journal


def _plain() -> None:
    raise ValueError("no such layer")


def _many_lines() -> None:
    raise RuntimeError("Error(s) in loading state_dict:\n\tMissing key(s): a\nsee the log")


def _chained() -> None:
    try:
        _plain()
    except ValueError as error:
        raise RuntimeError("no training") from error


def _of_another_process() -> None:
    raise RuntimeError('f() (pid=7)\n  File "there.py", line 1, in f\nValueError: it is there that it broke')


def _syntax() -> None:
    compile("a b", "there.py", "exec")


def _group() -> None:
    kind: Any = ExceptionGroup  # noqa: F821  (new in Python 3.11)
    raise kind("several", [ValueError("one"), ValueError("two")])


@pytest.mark.parametrize(
    ("fails", "reason"),
    [
        (_plain, "ValueError: no such layer"),
        (_many_lines, "RuntimeError: Error(s) in loading state_dict:"),
        (_chained, "RuntimeError: no training"),
        (_of_another_process, "ValueError: it is there that it broke"),
        (_syntax, "SyntaxError: "),
        pytest.param(
            _group, "ExceptionGroup: several (2 sub-exceptions)",
            marks=pytest.mark.skipif(sys.version_info < (3, 11), reason="new in Python 3.11"),
        ),
    ],
)  # fmt: skip
def test_reason(fails: Callable[[], None], reason: str) -> None:
    try:
        fails()
    except Exception as error:
        text = "".join(traceback.format_exception(error))
    end = of_error(text)
    assert end.status == "failed"
    assert end.reason.startswith(reason)
    assert (end.message, end.traceback) == (end.reason, text)
    assert of_journal({"status": "failed", "reason": end.reason, "message": text}) == end  # an older one
    assert of_journal(end._asdict()) == end
    assert of_error(text[10:]).reason == end.reason  # the beginning of a long one is cut off
