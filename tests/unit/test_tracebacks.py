"""Exceptions of the user's calls show no frame of the agent's."""

from __future__ import annotations

import sys
import traceback

import pytest

from autoinstrument.tracebacks import leave_out_frame, users_call


def users() -> None:
    raise KeyError("the user's")


def wrapper() -> None:
    with users_call:
        users()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 raises again what it had")
def test_the_wrappers_frame_is_left_out() -> None:
    with pytest.raises(KeyError) as raised:
        wrapper()
    names = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert (names[0], names[-1]) == ("test_the_wrappers_frame_is_left_out", "users")
    assert "wrapper" not in names


def test_cause_and_context_stay() -> None:
    cause = ValueError()
    with pytest.raises(KeyError) as raised:
        raise KeyError from cause
    for _ in range(2):  # the second time there is no frame
        leave_out_frame(raised.value)
        assert raised.value.__traceback__ is None
        assert raised.value.__cause__ is cause
