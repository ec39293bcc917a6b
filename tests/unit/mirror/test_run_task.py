"""A Task is placed below the Task of its run's parent, whichever of the two is made first."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.records import RunStarted
from autoinstrument.settings import Settings
from tests.clearml_server import ClearMLServer
from tests.unit.mirror.runs import PROCESS

RUN = RunStarted("c" * 32, "child", "0", "exp", "sqlite:////x", "", "", 0, "p" * 32, {}, False, True, "")


@pytest.mark.parametrize("known_after", [0, 1, 2], ids=["before the Task", "while it runs", "never"])
def test_a_task_is_placed_below_its_parents(server: ClearMLServer, tmp_path: Path, known_after: int) -> None:
    session = Session()
    tasks = Tasks(session)
    parent = tasks.create("project", {"name": "parent", "type": "training"}).id
    flushes = 0
    mirror = RunMirror(
        RunJournal(tmp_path / "captures" / RUN.run_id, RUN, PROCESS), Settings(), tasks, Uploads(FileUploads(session)),
        parent_task=lambda: parent if flushes >= known_after else "",
    )  # fmt: skip
    mirror.flush()
    flushes += 1
    mirror.end_as(End("completed", "", ""))
    mirror.flush()
    (task,) = [task for task in server.tasks if task["name"] == "child"]
    assert (task["status"], task.get("parent")) == ("completed", parent if known_after < 2 else None)
