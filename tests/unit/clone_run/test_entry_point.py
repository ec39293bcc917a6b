"""The program of a Task is told from launchers and helpers, which are started with other command lines."""

from __future__ import annotations

import sys

import pytest

from autoinstrument.clone_run.entry_point import has_arguments_of, runs_entry_point


@pytest.mark.parametrize(
    ("command", "entry_point", "runs"),
    [
        (["python", "/code/train.py", "--lr", "1"], "src/train.py", True),
        (["python", "-u", "train.py"], "train.py --lr 1", True),
        (["python", "-m", "pkg.train"], "-m pkg.train --lr 1", True),
        (["python", "helper.py"], "train.py", False),
        (["python", "-c", "train.py"], "train.py", False),
        (["python"], "train.py", False),
        (["python", "-m", "torch.distributed.run", "train.py"], "-m torch.distributed.run train.py", False),
        (["python", "train.py"], "", False),
    ],
)
def test_which_process_runs_it(
    command: list[str], entry_point: str, runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", command)
    assert runs_entry_point(entry_point) is runs


@pytest.mark.parametrize(
    ("argv", "entry_point", "has"),
    [
        (["train.py", "--lr", "1"], "train.py --lr 1", True),
        (["train.py", "a b"], "train.py 'a b'", True),
        (["train.py", "--lr", "2"], "train.py --lr 1", False),
        (["train.py"], "train.py", False),
    ],
)
def test_whether_the_arguments_are_those_of_the_entry_point(
    argv: list[str], entry_point: str, has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert has_arguments_of(entry_point) is has
