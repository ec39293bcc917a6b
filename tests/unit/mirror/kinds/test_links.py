"""The run of a pipeline's step, or of an optimiser's job, is nested below the run of its Task's parent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror.kinds.kind import TaskOfRun
from autoinstrument.mirror.kinds.links import Links
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import RunStarted
from autoinstrument.settings import Settings
from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import properties
from tests.unit.mirror.runs import PROCESS

PARENT = "mlflow.parentRunId"
STEP = RunStarted("c" * 32, "step", "0", "exp", "http://user:pass@mlflow", "", "", 0, "", {}, False, True, "")
ABOVE = STEP._replace(run_id="a" * 32, run_name="controller")


class Pipeline:
    """A Task without a run yet, and one below it that an agent runs."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.session, self._folder = Session(), folder
        self.tasks = Tasks(self.session)
        self.above = self.tasks.create("pipelines", {"name": "pipe", "type": kind}).id
        self.session.call("tasks.started", task=self.above)

    def below(self, **fields: Any) -> str:
        task = self.tasks.create("pipelines", {"name": "step", "type": "training", "parent": self.above, **fields}).id
        self.session.call("tasks.started", task=task)
        return task

    def adopted(self, run: RunStarted, task_id: str) -> RunMirror:
        """Let a run take a Task over; it has not ended."""
        journal = RunJournal(self._folder / "captures" / run.run_id, run._replace(task_id=task_id), PROCESS)
        mirror = RunMirror(journal, Settings(), self.tasks, Uploads(FileUploads(self.session)))
        mirror.flush()
        return mirror


@pytest.fixture
def pipeline(server: ClearMLServer, tmp_path: Path) -> Pipeline:
    return Pipeline(tmp_path, "controller")


@pytest.mark.parametrize("late", [False, True])
def test_a_step_is_nested_below_the_run_of_the_controller(
    server: ClearMLServer, pipeline: Pipeline, late: bool
) -> None:
    """Also if that run begins after the step's. By the Task's property `sync` restores the tag."""
    step = pipeline.below()
    if not late:
        pipeline.adopted(ABOVE, pipeline.above)
    mirror = pipeline.adopted(STEP, step)
    assert mirror.run.tags.get(PARENT) == (None if late else ABOVE.run_id)
    if late:
        pipeline.adopted(ABOVE, pipeline.above)
    mirror.end_as(End("completed", "", ""))
    mirror.flush()
    assert mirror.run.tags[PARENT] == ABOVE.run_id
    task = server.task(step)
    assert properties(task)["mlflow_parent_run"] == ABOVE.run_id
    linked = {"clearml.task_id": step, "clearml.state": "synced"}

    def differences(tags: dict[str, str]) -> list[str]:
        stored = StoredRun(STEP._replace(tags={**linked, **tags}), "FINISHED", False, {}, {})
        return [found.detail for found in Links().glance(TaskOfRun(stored, task, Settings(), str))]

    assert differences({}) == [f"tags missing: {PARENT}"]
    assert differences({PARENT: ABOVE.run_id}) == []
    assert differences({PARENT: "another, by a person"}) == []


def test_what_ended_before_the_run_above_it_began(pipeline: Pipeline) -> None:
    """The run above nests it at its own end, but no clone of its Task, and nothing of another store."""

    def ended(run: RunStarted, task_id: str) -> RunJournal:
        mirror = pipeline.adopted(run, task_id)
        mirror.end_as(End("completed", "", ""))
        mirror.flush()
        return mirror.journal

    ended(STEP, pipeline.below())
    ended(STEP._replace(run_id="b" * 32, tracking_uri="http://another"), pipeline.below())
    ended(STEP._replace(run_id="d" * 32, tags={"clearml.cloned_from_run": ABOVE.run_id}), pipeline.below())
    ended(STEP._replace(run_id="e" * 32, tags={PARENT: "another run"}), pipeline.below())
    pipeline.below(tags=["mlflow"])  # it has no run
    assert ended(ABOVE, pipeline.above).steps == [STEP.run_id]


def test_a_step_is_not_nested_below_other_tasks(server: ClearMLServer, pipeline: Pipeline) -> None:
    """The origin of a clone, a Task without a run, a clone that has not run yet, and a run of another store."""
    assert PARENT not in pipeline.adopted(STEP, pipeline.below()).run.tags
    origin = STEP._replace(run_id="e" * 32, tags={"clearml.cloned_from_run": ABOVE.run_id})
    pipeline.adopted(ABOVE, pipeline.above)
    assert PARENT not in pipeline.adopted(origin, pipeline.below()).run.tags
    elsewhere = STEP._replace(run_id="b" * 32, tracking_uri="http://another")
    assert PARENT not in pipeline.adopted(elsewhere, pipeline.below()).run.tags
    clone = str(pipeline.session.call("tasks.clone", task=pipeline.above)["id"])
    assert PARENT not in pipeline.adopted(STEP._replace(run_id="d" * 32), pipeline.below(parent=clone)).run.tags


def test_a_clone_does_not_keep_the_run_above_its_origin(server: ClearMLServer, pipeline: Pipeline) -> None:
    pipeline.adopted(ABOVE, pipeline.above)
    step = pipeline.below()
    pipeline.adopted(STEP, step)
    clone = str(pipeline.session.call("tasks.clone", task=step)["id"])
    assert properties(server.task(clone))["mlflow_parent_run"] == ABOVE.run_id
    run = STEP._replace(run_id="b" * 32, tags={"clearml.cloned_from_run": STEP.run_id})
    assert PARENT not in pipeline.adopted(run, clone).run.tags
    assert "mlflow_parent_run" not in properties(server.task(clone))


def test_the_console_of_a_job_that_no_agent_runs(server: ClearMLServer, pipeline: Pipeline) -> None:
    """ClearML's agent or SDK sends that of any other Task that is taken over."""
    sent = {}
    for is_local in (True, False):
        run = STEP._replace(run_id=str(int(is_local)) * 32, is_local_job=is_local)
        mirror = pipeline.adopted(run, step := pipeline.below())
        mirror.console.write("stdout", "epoch 1\n", 1)
        mirror.flush()
        sent[is_local] = server.console(step)
    assert sent == {True: "epoch 1\n", False: ""}
