"""A Task holds a bounded number of artifacts: more files of its run are no difference that `sync` could mend."""

from __future__ import annotations

from typing import Any, cast

import pytest

from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.mirror.kinds import artifact_diff
from autoinstrument.mirror.kinds.artifact_list import MAX_ARTIFACTS
from autoinstrument.mirror.kinds.kind import TaskOfRun
from autoinstrument.mirror.mapping import artifact_entries
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import ArtifactLogged, RunStarted
from autoinstrument.settings import Settings

RUN = RunStarted("r", "name", "0", "exp", "sqlite:////x", "", "file:///art", 1, "", {}, True, True, "")


def problems_of(files: list[ArtifactLogged], held: int) -> list[tuple[str, str]]:
    artifacts: list[dict[str, Any]] = [
        artifact_entries.entry(RUN, file, file.path, artifact_entries.address(RUN, file.path), "", "")
        for file in files[:held]
    ]
    task = {"id": "t", "execution": {"artifacts": artifacts}}
    of = TaskOfRun(StoredRun(RUN, "FINISHED", False, {}, {}), task, Settings(), lambda: "")
    return list(artifact_diff.problems(of, files, cast("Tasks", None)))  # no file may be a figure


@pytest.mark.parametrize(("held", "problem"), [(MAX_ARTIFACTS, []), (MAX_ARTIFACTS - 1, ["missing", "missing"])])
def test_files_for_which_a_task_has_no_room_are_not_missing(held: int, problem: list[str]) -> None:
    files = [ArtifactLogged("r", f"{number}.txt", number, 1, None) for number in range(held + 2)]
    assert [found for _, found in problems_of(files, held)] == problem
