"""The program of a Task is distinguished from launchers and helpers, which have other command lines."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

from autoinstrument.clone_run.entry_point import has_arguments_of, runs_entry_point, runs_module_of


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
    ("command", "runs"),
    [
        (["python", "-u", "-m", "pkg.train"], True),
        (["python", "-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "pkg.train"], True),
        (["python", "-m", "pkg.helper"], False),
        (["python", "pkg.train"], False),
        (["python", "-c", "pkg.train"], False),
    ],
)
def test_which_process_runs_a_module_of_it(command: list[str], runs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launcher does, too: its own paths are those of the command line."""
    monkeypatch.setattr(sys, "orig_argv", command)
    assert runs_module_of("-m torch.distributed.run --nproc-per-node=2 -m pkg.train") is runs


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


def test_the_script_of_a_task_without_git_that_the_sdk_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has another name then, and no arguments; a helper of a job is not in the temporary folder."""
    with tempfile.NamedTemporaryFile(suffix=".py") as copy:
        for program, is_local, expected in [
            (copy.name, "1", True), (copy.name, "", False), (str(Path(copy.name).parent / "helper.py"), "1", False),
        ]:  # fmt: skip
            monkeypatch.setenv("CLEARML_SIMULATE_REMOTE_TASK", is_local)
            monkeypatch.setattr(sys, "orig_argv", ["python", program])
            monkeypatch.setattr(sys, "argv", [program])
            assert runs_entry_point("train.py --lr 1") is expected
            assert has_arguments_of("train.py --lr 1") is expected
