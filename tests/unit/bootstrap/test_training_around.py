"""An interpreter recognises at its start, without looking far, that it may be part of a training."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from autoinstrument.bootstrap import training_around
from autoinstrument.bootstrap.training_around import mark_folders, rank


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ""),
        ({"RANK": "3", "WORLD_SIZE": "8"}, "3"),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}, "0"),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "RANK": "5"}, "5"),
        ({"RANK": "0", "WORLD_SIZE": "1"}, ""),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, ""),
        ({"RANK": "first"}, ""),
    ],
)
def test_ranks(variables: dict[str, str], expected: str) -> None:
    assert rank(variables) == expected


def test_who_may_be_part_of_a_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(training_around, "mark_folders", lambda _: [str(tmp_path / "marks")])
    for variable in training_around._RANKS:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(sys, "orig_argv", ["python", "train.py"])
    assert not training_around.is_likely()
    (tmp_path / "marks").mkdir()
    assert training_around.is_likely()
    (tmp_path / "marks").rmdir()
    monkeypatch.setattr(sys, "orig_argv", ["python", "-c", "…", "--multiprocessing-fork"])
    assert training_around.is_likely()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no marks on Windows")
def test_folders_of_marks_are_absolute_and_named_once() -> None:
    found = mark_folders({"TMPDIR": "/tmp", "TEMP": "relative", "XDG_RUNTIME_DIR": "/run/user/1"})
    assert [Path(folder).parent.as_posix() for folder in found] == ["/run/user/1", "/tmp"]
