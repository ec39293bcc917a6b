"""Who ends the Task of a run that has adopted it."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.journal.run_journal import RunJournals
from autoinstrument.mirror.mapping.run_status import End, of_death, of_error
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.settings import Settings
from tests.clearml_server import ClearMLServer
from tests.unit.mirror.runs import PROCESS
from tests.unit.mirror.test_console import RUN
from tests.unit.sync.test_stored import server as server

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

DEATH = of_death(out_of_memory=False, signal="SIGKILL")
FAILURE = of_error("Traceback:\nValueError: bad")


@pytest.mark.parametrize(
    ("made_task", "before", "end", "expected"),
    [
        (True, "in_progress", DEATH, ("stopped", DEATH.reason)),
        (True, "in_progress", of_death(out_of_memory=True), ("failed", "killed by the system: out of memory")),
        (True, "in_progress", FAILURE, ("in_progress", "")),
        (True, "stopped", DEATH, ("stopped", "enough")),
        (False, "in_progress", DEATH, ("in_progress", "")),
    ],
    ids=["died", "out of memory", "the SDK reports it", "a person has stopped it", "another owner"],
)
def test_the_task_of_a_task_init_ends_with_its_process(
    server: ClearMLServer, tmp_path: Path, made_task: bool, before: str, end: End, expected: tuple[str, str]
) -> None:
    """A process that dies ends nothing, and ClearML would notice it after two hours."""
    session = Session()
    task_id = str(session.call("tasks.create", name="own task", type="training")["id"])
    session.call("tasks.started", task=task_id)
    run = RUN._replace(task_id=task_id, made_task=made_task)
    journal = RunJournals(Settings(home=str(tmp_path))).of(run, PROCESS)
    mirror = RunMirror(journal, Settings(), Tasks(session), Uploads(FileUploads(session)))
    mirror.flush_without_end()
    if before == "stopped":
        session.call("tasks.stopped", task=task_id, status_reason="enough", force=True)
    mirror.end_as(end)
    mirror.flush()
    task = server.task(task_id)
    assert (task["status"], task.get("status_reason") or "") == expected
    assert mirror.status.is_settled


def test_the_store_is_asked_whose_end_counts_if_the_task_does_not_show_it_any_more(
    server: ClearMLServer, tmp_path: Path
) -> None:
    """The Task was ended elsewhere, and a worker has set it running again; a run that is resumed begins anew."""
    session = Session()
    journal = RunJournals(Settings(home=str(tmp_path))).of(RUN, PROCESS)
    mirror = RunMirror(journal, Settings(), Tasks(session), Uploads(FileUploads(session)))
    mirror.flush_without_end()
    end = End("completed", "MLflow: FINISHED", "")
    mirror.end_as(end, ended_ms=5)
    assert not mirror.awaits_store
    mirror.status.doubt()
    mirror.end_as(end, ended_ms=5)
    assert mirror.awaits_store
    mirror.reopen(RUN)
    mirror.end_as(end, ended_ms=6)
    assert not mirror.awaits_store
