"""The files of a folder on this machine, as they are when they are listed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autoinstrument.mlflow_store.artifacts import ArtifactStore
from autoinstrument.records import RunStarted

RUN = RunStarted("r", "name", "0", "exp", "sqlite:////x", "", "", 1, "", {}, True, True, "")


def paths(folder: Path) -> list[str]:
    return [file.path for file in ArtifactStore(RUN._replace(artifact_uri=folder.as_uri())).files()]


def test_a_file_that_is_deleted_meanwhile_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training deletes old checkpoints while a follower lists the run's files."""
    (tmp_path / "b").mkdir()
    for name in ("a", "b/c", "d", ".artifact.uploading.e"):
        (tmp_path / name).write_text(name)
    assert paths(tmp_path) == ["a", "b/c", "d"]
    stat = Path.stat

    def stat_and_delete(path: Path, **options: bool) -> os.stat_result:
        found = stat(path, **options)
        if path.name == "c":
            path.unlink()
        return found

    monkeypatch.setattr(Path, "stat", stat_and_delete)
    assert paths(tmp_path)[-1] == "d"
    assert paths(tmp_path) == ["a", "d"]
