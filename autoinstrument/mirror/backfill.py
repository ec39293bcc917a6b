"""Make the Tasks of a store's runs, also of those of which nothing was recorded: older than the agent, or elsewhere.

MLflow's store says all of such a run but its code, packages and console; of the code it says where it was. ClearML
dates a Task by its own clock: a Task's own times are those of the sync, its points and artifacts have the run's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from pathlib import Path
from typing import Any, NamedTuple

from autoinstrument.capture.secrets import without_credentials
from autoinstrument.from_mlflow.links import LINK_TAGS, STATE, TASK_ID
from autoinstrument.from_mlflow.store import StoredRun, find_run
from autoinstrument.mirror import mapping
from autoinstrument.mirror.captures import Capture
from autoinstrument.mirror.completion import complete
from autoinstrument.mirror.ending import End, of_run
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.records import RunDeleted, RunEnded, RunRestored, TagDeleted
from autoinstrument.settings import Settings
from autoinstrument.to_clearml.errors import ClearMLError, NotAllowedError, UnavailableError
from autoinstrument.to_clearml.files import Files
from autoinstrument.to_clearml.session import Session
from autoinstrument.to_clearml.tasks import Tasks

_ENDED = ("completed", "failed", "stopped", "closed", "published")
_local = threading.local()


class Outcome(NamedTuple):
    """What became of one run.

    Attributes:
        result: "synced", "unchanged", "failed", "running" (left alone) or "pending" (dry run).
        detail: the Task's address, or the reason.
    """

    run_id: str
    run_name: str
    result: str
    detail: str


def spread(
    executor: Executor, jobs: int, runs: Iterable[StoredRun], settings: Settings, *, full: bool, dry_run: bool
) -> Iterator[Outcome]:
    """Sync runs with any executor, here or on other machines; yield what became of each, as they are done.

    No more than twice as many runs are handed out as there are `jobs`, however many there are in the store. A parent
    and its child may both make the parent's Task at the same time; one of the two gives way, as among two people.
    """
    waiting: set[Future[Outcome]] = set()
    for run in runs:
        if len(waiting) >= 2 * jobs:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
        waiting.add(executor.submit(sync_one, run, settings, full, dry_run))
    while waiting:
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        yield from (future.result() for future in done)


def sync_one(run: StoredRun, settings: Settings, full: bool, dry_run: bool) -> Outcome:
    """Complete the Task of one run, in a session of this thread's own: the SDK's is not made for several."""
    if not hasattr(_local, "server"):
        session = Session()
        _local.server = Tasks(session), Uploads(Files(session))
    (outcome,) = Backfill(settings, *_local.server, full=full).sync([run], dry_run=dry_run)
    return outcome


class Backfill:
    """Brings runs of the store to ClearML, parents before their children.

    With `full`, histories, files and models are compared also where a Task says at first sight what the run says.
    """

    def __init__(self, settings: Settings, tasks: Tasks, uploads: Uploads, *, full: bool = False) -> None:
        self._full = full
        self._settings = settings
        self._tasks = tasks
        self._uploads = uploads
        self._made: dict[str, str] = {}
        """Task ids by run id; of runs that are children's parents."""

    def sync(self, runs: Iterable[StoredRun], *, dry_run: bool = False) -> Iterator[Outcome]:
        """Complete the Tasks of runs, one after the other; yield what became of each.

        After the server has refused the credentials no further run is tried.
        """
        stop = ""
        for stored in runs:
            outcome = Outcome(stored.run.run_id, stored.run.run_name, "failed", stop)
            if not stop:
                try:
                    outcome = self._sync(stored, outcome, dry_run=dry_run)
                except ClearMLError as error:
                    stop = str(error) if isinstance(error, NotAllowedError) else ""
                    outcome = outcome._replace(detail=str(error))
                except Exception as error:  # MLflow's store raises what its driver raises: said, and on to the next
                    outcome = outcome._replace(detail=f"MLflow: {type(error).__name__}: {' '.join(str(error).split())}")
            yield outcome

    def _sync(self, stored: StoredRun, outcome: Outcome, *, dry_run: bool) -> Outcome:
        run = stored.run
        if not stored.has_ended:
            return outcome._replace(result="running", detail="it has not ended in MLflow; left alone")
        task_id = run.tags.get(TASK_ID, "") or self._tasks.of_run(run.run_id)
        task = self._tasks.get(task_id) if task_id else {}
        is_linked = run.tags.get(STATE) == "synced" or stored.deleted
        if task and is_linked and not self._full and is_up_to_date(task, stored, self._settings):
            return outcome._replace(result="unchanged", detail=run.tags.get("clearml.task_url", ""))
        if dry_run:
            return outcome._replace(result="pending", detail=run.tags.get("clearml.task_url", "no Task yet"))
        return outcome._replace(result="synced", detail=self._complete(stored, task))

    def _complete(self, stored: StoredRun, task: dict[str, Any]) -> str:
        run = stored.run._replace(tags={key: tag for key, tag in stored.run.tags.items() if key not in LINK_TAGS})
        capture = Capture(Path(), run, None)
        capture.kept = False
        capture.task_id = str(task.get("id", ""))
        capture.script = script(run.tags)
        mirror = RunMirror(capture, self._settings, self._tasks, self._uploads)
        mirror.settled = True
        mirror.parent_task = self._parent_of(stored)
        mirror.take(RunDeleted(run.run_id) if stored.deleted else RunRestored(run.run_id))
        for name in ((task.get("hyperparams") or {}).get(mapping.TAGS_SECTION) or {}).keys() - run.tags.keys():
            mirror.take(TagDeleted(run.run_id, name))
        complete(mirror, run.tracking_uri, end=end(stored.status, task), deleted=stored.deleted)
        if mirror.lacking or mirror.task is None:
            raise UnavailableError(mirror.lacking or "there is no Task")
        self._made[run.run_id] = mirror.task.id
        return mirror.task.url

    def _parent_of(self, stored: StoredRun) -> Callable[[], str]:
        """Return what gives the parent's Task; one that is missing is made first, unless the parent is running."""
        parent_id, uri = stored.run.parent_run_id, stored.run.tracking_uri

        def task() -> str:
            if not parent_id or parent_id == stored.run.run_id:
                return ""
            found = self._made.get(parent_id) or self._tasks.of_run(parent_id)
            if not found:
                for _ in self.sync([find_run(parent_id, uri)]):
                    found = self._made.get(parent_id, "")
            return found

        return task


def end(status: str, task: dict[str, Any]) -> End | None:
    """Return how a run's Task is to end, given MLflow's status and the Task as it is.

    A Task that has ended knows more than MLflow, which calls a run FINISHED after a crash too; only what MLflow says of
    a failure that the Task does not know of is news.
    """
    told = of_run(RunEnded("", status, 0, "", False))
    held = str(task.get("status", ""))
    if held in _ENDED and not (held == "completed" and told.status != "completed"):
        return End(held, str(task.get("status_reason") or ""), str(task.get("status_message") or ""))
    return told


def is_up_to_date(task: dict[str, Any], stored: StoredRun, settings: Settings) -> bool:
    """Tell by what one request shows whether a Task says what the run says; files and models are not looked at."""
    sections = task.get("hyperparams") or {}
    latest = {
        (last.get("metric"), last.get("variant")): last
        for variants in (task.get("last_metrics") or {}).values()
        for last in variants.values()
    }
    tags = {item["name"]: item["value"] for item in mapping.tags(stored.run.tags)}
    params = {item["name"]: item["value"] for item in mapping.parameters((*pair, "") for pair in stored.params.items())}
    return (
        task.get("status") == end(stored.status, task).status  # type: ignore[union-attr]
        and ("archived" in (task.get("system_tags") or [])) == stored.deleted
        and task.get("name") == mapping.task_name(settings, stored.run, None).strip()
        and (task.get("comment") or "") == mapping.comment(stored.run.tags).strip()
        and _values(sections.get(mapping.SECTION)) == params
        and _values(sections.get(mapping.TAGS_SECTION)) == tags
        and all(mapping.curve(key) in latest for key, value in stored.metrics.items() if mapping.is_storable(value))
    )


def script(tags: dict[str, str]) -> dict[str, str]:
    """Return the script section as far as MLflow's own tags tell it."""
    kept = {
        "entry_point": tags.get("mlflow.source.name", ""),
        "repository": without_credentials(tags.get("mlflow.source.git.repoURL", "")),
        "version_num": tags.get("mlflow.source.git.commit", ""),
        "branch": tags.get("mlflow.source.git.branch", ""),
    }
    return {name: value for name, value in kept.items() if value}


def _values(section: dict[str, Any] | None) -> dict[str, str]:
    return {name: str(item.get("value", "")) for name, item in (section or {}).items()}
