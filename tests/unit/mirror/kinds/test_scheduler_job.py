"""The cluster's job is among the user properties of the Task: that of the process that runs the run at the moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror.kinds.scheduler_job import SchedulerJob
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.records import ProcessStarted, RunStarted
from autoinstrument.settings import Settings
from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import properties
from tests.unit.mirror.runs import PROCESS

RUN = RunStarted("r" * 32, "name", "0", "exp", "sqlite:////x", "", "", 1, "", {}, False, True, "")
SLURM = PROCESS._replace(job={"slurm_job_id": "4711", "slurm_array_index": "3", "slurm_node": "gpu07"})

Mirror = Callable[[RunStarted, ProcessStarted | None], dict[str, str]]


@pytest.fixture
def job_on_task(server: ClearMLServer, tmp_path: Path) -> Mirror:
    """Mirrors the run once more, to its end, and returns the properties of its Task that name a job."""
    assert SchedulerJob.name

    def mirror(run: RunStarted, process: ProcessStarted | None) -> dict[str, str]:
        session = Session()
        journal = RunJournal(tmp_path / "capture", run, process)
        mirror = RunMirror(journal, Settings(), Tasks(session), Uploads(FileUploads(session)))
        mirror.flush()
        mirror.end_as(End("completed", "", ""))
        mirror.note_store_read()
        mirror.flush()
        (task,) = server.tasks
        assert task["status"] == ("completed" if run.owned else "in_progress")
        return {name: value for name, value in properties(task).items() if not name.startswith("mlflow_")}

    return mirror


def test_a_new_task_names_its_job(job_on_task: Mirror) -> None:
    assert job_on_task(RUN, SLURM) == SLURM.job


def test_a_resumed_run_has_its_present_job(job_on_task: Mirror) -> None:
    """As after `scontrol requeue`, and then on a laptop."""
    job_on_task(RUN, SLURM)
    again = SLURM._replace(job={"slurm_job_id": "4711", "slurm_restarts": "1", "slurm_node": "gpu08"})
    assert job_on_task(RUN._replace(resumed=True), again) == again.job
    assert job_on_task(RUN._replace(resumed=True), PROCESS) == {}


def test_processes_that_only_log_to_the_run_do_not_name_their_job(job_on_task: Mirror, server: ClearMLServer) -> None:
    """Neither a rank on another node nor `sync` of a run that was not captured."""
    job_on_task(RUN, SLURM)
    assert job_on_task(RUN._replace(resumed=True), None) == SLURM.job


def test_unknown_names_are_ignored(job_on_task: Mirror) -> None:
    """A journal on disk may hold anything."""
    assert job_on_task(RUN, PROCESS._replace(job={"mlflow_run_id": "x", "other": "y"})) == {}
