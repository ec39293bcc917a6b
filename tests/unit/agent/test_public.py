"""The public names are there without a cost, and do nothing where the agent is off."""

from __future__ import annotations

import subprocess
import sys

import pytest

import autoinstrument
from autoinstrument.agent import public


def test_the_package_imports_nothing_for_them() -> None:
    code = "import sys; before = set(sys.modules); import autoinstrument; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-S", "-c", f"sys = __import__('sys'); sys.path[:0] = {sys.path!r}; {code}"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout == "['autoinstrument']\n"


def test_the_public_names() -> None:
    assert autoinstrument.__all__ == ["init", "is_active", "task_of", "wait_delivered"]
    assert (autoinstrument.is_active, autoinstrument.task_of, autoinstrument.wait_delivered) == (
        public.is_active,
        public.task_of,
        public.wait_delivered,
    )
    with pytest.raises(AttributeError, match="no attribute 'agent_of'"):
        _ = autoinstrument.agent_of  # type: ignore[attr-defined]


def test_without_the_agent() -> None:
    assert public.is_active() is False
    assert public.task_of("0" * 32) is None
    assert public.wait_delivered() is False
