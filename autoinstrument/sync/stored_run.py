"""Bring one run of the store to ClearML, also one that was not recorded: older than the agent, or from elsewhere.

MLflow's store holds everything of such a run except packages and console; of the code it knows the place. ClearML dates
a Task by its own clock: a Task's own times are those of the sync, its points and artifacts have the run's.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

from autoinstrument.clearml_api.errors import ClearMLError, FilesUnavailableError, UnavailableError
from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Task, Tasks
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror.completion import complete
from autoinstrument.mirror.kinds.environment import script_of_tags
from autoinstrument.mirror.kinds.status import agreed_end
from autoinstrument.mirror.mapping.links import origin
from autoinstrument.mirror.mapping.run_status import FOLLOWED
from autoinstrument.mirror.mapping.task_settings import settings_of
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mlflow_store.found_run import FoundRun
from autoinstrument.mlflow_store.left_out import is_left_out
from autoinstrument.mlflow_store.link_tags import LINK_TAGS
from autoinstrument.mlflow_store.runs import StoredRun, find_run
from autoinstrument.mlflow_store.store_errors import NotFoundError
from autoinstrument.mlflow_store.urls import run_page
from autoinstrument.settings import Settings
from autoinstrument.sync.failures import failed
from autoinstrument.sync.queued_runs import ended
from autoinstrument.sync.selection import Outcome

_MOST_PARENTS = 1000
"""Parents whose Tasks are remembered; a follower sees new ones for months."""
_local = threading.local()


def sync_one(
    stored: StoredRun, task: dict[str, Any], settings: Settings, full: bool, found: FoundRun | None = None
) -> Outcome:
    """Complete the Task of one run, in a session of this thread's own: the SDK's is not made for several.

    A run that waited for a Task which has ended without running it is ended in MLflow first. What was `found` of any
    other run is not asked for again.

    Raises:
        ClearMLError: the server did not take everything; calling again goes on from there.
    """
    sync = of_this_thread(settings, full)
    outcome = Outcome(stored.run.run_id, stored.run.run_name, "synced", "")
    try:
        as_it_is = ended(stored, task)
        return outcome._replace(detail=sync.complete(as_it_is, task, found if as_it_is is stored else None))
    except ClearMLError:
        raise
    except Exception as error:  # MLflow's store raises what its driver raises; the next run is tried
        return failed(outcome.run_id, outcome.run_name, error)


def of_this_thread(settings: Settings, full: bool = False) -> StoredRunSync:
    """Return the `StoredRunSync` of this thread; the last one is kept, with its session."""
    known = getattr(_local, "sync", None)
    if known is None or known[0] != (settings, full):
        session = Session()
        known = _local.sync = (
            (settings, full),
            StoredRunSync(settings, Tasks(session), Uploads(FileUploads(session)), full),
        )
    found: StoredRunSync = known[1]
    return found


class StoredRunMirror(RunMirror):
    """The mirror of a run that is read from the store."""

    @property
    def is_made(self) -> bool:
        """True if the Task was made here."""
        return self._task.is_made

    def restart(self) -> None:
        """Set the Task, which has ended, running again, because its run goes on."""
        self._task.restart(FOLLOWED)


class StoredRunSync:
    """Brings single runs of the store to ClearML, parents before their children.

    Attributes:
        tasks: the server.
    """

    def __init__(self, settings: Settings, tasks: Tasks, uploads: Uploads, full: bool) -> None:
        """If `full`, compare points and files even if a Task seems to hold them."""
        self._full = full
        self._settings = settings
        self.tasks = tasks
        self._uploads = uploads
        self._parents: dict[str, str] = {}
        """Task ids of runs that have children, by run id."""

    def complete(self, stored: StoredRun, task: dict[str, Any], found: FoundRun | None = None) -> str:
        """Bring a run's Task, which may be empty for none, up to date; return its address.

        Raises:
            mlflow.exceptions.MlflowException: MLflow's store does not answer, or has no such run.
            ClearMLError: the server did not take everything; calling again goes on from there.
        """
        mirror = self.mirror(stored, task)
        end = agreed_end(stored.status, task)
        complete(mirror, stored.run.tracking_uri, end=end, deleted=stored.deleted, found=found)
        if mirror.lacking:
            raise FilesUnavailableError(mirror.lacking)
        if mirror.task is None:
            raise UnavailableError("there is no Task")
        return mirror.task.url + mirror.left_out

    def mirror(self, stored: StoredRun, task: dict[str, Any]) -> StoredRunMirror:
        """Return the mirror of a run, given its Task, which may be empty for none."""
        settings = settings_of(task, self._settings)
        tags = {key: tag for key, tag in stored.run.tags.items() if key not in LINK_TAGS}
        run = stored.run._replace(tags={**tags, **origin(task, tags)})
        if settings.mlflow_ui:
            page = run_page(run.tracking_uri, run.experiment_id, run.run_id, settings.mlflow_ui, run.workspace)
            run = run._replace(run_url=page)
        journal = RunJournal(Path(), run, None)
        journal.kept = False
        journal.task_id = str(task.get("id", ""))
        journal.script = script_of_tags(run.tags)
        mirror = StoredRunMirror(
            journal, settings, self.tasks, self._uploads,
            look_first=False,  # it was looked for already
            is_settled=True,
            parent_task=lambda: self._task_of(stored.run.parent_run_id, stored),
        )  # fmt: skip
        if self._full:
            mirror.compare_exactly()
        mirror.take_held(task)
        return mirror

    def ping(self, task: Task) -> None:
        """Report that a Task is alive.

        Raises:
            ClearMLError: the server did not answer.
        """
        self.tasks.ping(task)

    def _task_of(self, parent_id: str, child: StoredRun) -> str:
        """Return the parent's Task; make a missing one first, unless the parent is running, left out, or gone."""
        if not parent_id or parent_id == child.run.run_id:
            return ""
        found = self._parents.get(parent_id) or self.tasks.of_run(parent_id)
        if not found:
            with contextlib.suppress(NotFoundError):
                parent = find_run(parent_id, child.run.tracking_uri, child.run.workspace)
                if parent.has_ended and not is_left_out(parent.run, self._settings.experiments):
                    self.complete(parent, {})
                    found = self.tasks.of_run(parent_id)
        if found:
            if len(self._parents) >= _MOST_PARENTS:
                self._parents.clear()
            self._parents[parent_id] = found
        return found
