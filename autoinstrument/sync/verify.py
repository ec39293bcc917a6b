"""Compare a run with its Task, kind by kind."""

from __future__ import annotations

from collections.abc import Iterator

from autoinstrument.clearml_api.errors import described
from autoinstrument.clearml_api.tasks import Tasks, run_of
from autoinstrument.guard import swallow
from autoinstrument.mirror import kinds
from autoinstrument.mirror.kinds.kind import Difference, Kind, TaskOfRun
from autoinstrument.mirror.mapping.task_settings import settings_of
from autoinstrument.mirror.parts import is_of_data
from autoinstrument.mlflow_store.link_tags import TASK_ID
from autoinstrument.mlflow_store.run_reader import open_run
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.settings import Settings


def differences(stored: StoredRun, settings: Settings, tasks: Tasks) -> Iterator[Difference]:
    """Yield all differences between a run of the store and its Task.

    Raises:
        mlflow.exceptions.MlflowException: the store does not answer, or has no such run.
        ClearMLError: the server does not answer.
    """
    run_id, linked = stored.run.run_id, stored.run.tags.get(TASK_ID, "")
    task_id = tasks.of_run(run_id, linked)
    task = tasks.get(task_id) if task_id else {}
    if not task:
        yield Difference("task", _why_none(linked, run_id, tasks))
        return
    run = stored.run
    reader = open_run(run.tracking_uri, run_id, workspace=run.workspace, experiment_name=run.experiment_name)
    parent_id = reader.stored.run.parent_run_id
    of = TaskOfRun(
        reader.stored, task, settings_of(task, settings), lambda: tasks.of_run(parent_id) if parent_id else ""
    )
    for kind in kinds.KINDS:
        if kind.is_mirrored(of.settings):
            try:
                yield from kind.compare(of, kind.read(reader), tasks)
            except Exception as error:
                if not is_of_data(error):
                    raise
                yield Difference(kind.name, f"it cannot be compared: autoinstrument failed with {described(error)}")


def is_up_to_date(of: TaskOfRun) -> bool:
    """Return True if no difference is in sight: the few fields of `task_fields` show none."""
    return not any(_differs(kind, of) for kind in kinds.KINDS if kind.is_mirrored(of.settings))


def _differs(kind: Kind, of: TaskOfRun) -> bool:
    try:
        return any(kind.glance(of))
    except Exception as error:
        if not is_of_data(error):
            raise
        swallow(f"comparing a run's {kind.name}", error)
        return True  # bringing the Task up to the run shows what is wrong, and leaves it out


def task_fields() -> list[str]:
    """Return the fields of a Task that `is_up_to_date` looks at."""
    return list(dict.fromkeys(field for kind in kinds.KINDS for field in kind.task_fields))


def _why_none(linked: str, run_id: str, tasks: Tasks) -> str:
    """Return why a run has no Task, and what makes one, given the Task that its tag names ("" for none)."""
    task = tasks.get(linked) if linked else {}
    owner = run_of(task)
    if not linked:
        return "there is no Task"
    if not task:
        return f"the Task {linked} is gone, or on another ClearML server than that of this configuration"
    what = "was reset and waits to be run again"
    if owner != run_id:
        what = f"was run again and is the Task of run {owner} now"
    return f"the Task {linked} {what}; `autoinstrument sync --run {run_id}` makes a new one for this run"
