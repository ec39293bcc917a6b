"""Find the Tasks of many runs with few requests, with the fields that a quick comparison needs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from autoinstrument.clearml_api.errors import ClearMLError, TooLargeError
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.clone_run.settings import OBJECT
from autoinstrument.mlflow_store.link_tags import TASK_ID
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.sync.verify import task_fields

AT_ONCE = 25
"""Runs whose Tasks are asked for at a time; the fields that are compared take 8 kB or so each."""
_MOST_TOO_LARGE = 3
"""Runs with answers that are too large, before the server counts as one that sends endless answers."""


RunWithTask = tuple[StoredRun, dict[str, Any] | ClearMLError, str]
"""A run, its Task (empty if it has none, or the error that hides it), and the id of its parent's Task ("")."""


def with_tasks(runs: Iterable[StoredRun], tasks: Tasks) -> Iterator[RunWithTask]:
    """Yield each run with its Task."""
    return itertools.chain.from_iterable(batches_with_tasks(runs, tasks))


def batches_with_tasks(runs: Iterable[StoredRun], tasks: Tasks) -> Iterator[list[RunWithTask]]:
    """Yield the runs whose Tasks were asked for together, each with its Task."""
    source = iter(runs)
    while batch := list(itertools.islice(source, AT_ONCE)):
        wanted = {stored.run.run_id: None for stored in batch}
        wanted |= {stored.run.parent_run_id: None for stored in batch if stored.run.parent_run_id}
        too_large: dict[str, TooLargeError] = {}
        try:
            of_runs = _found(tasks, list(wanted), too_large)
        except ClearMLError as error:  # the session has tried several times
            for stored in itertools.chain(batch, source):
                yield [(stored, error, "")]
            return
        found: list[RunWithTask] = []
        for stored in batch:
            if stored.run.run_id in too_large:
                found.append((stored, too_large[stored.run.run_id], ""))
                continue
            run_id, linked = stored.run.run_id, stored.run.tags.get(TASK_ID, "")
            parent = str(next(iter(of_runs.get(stored.run.parent_run_id, [])), {}).get("id", ""))
            try:
                found.append((stored, tasks.chosen(run_id, linked, of_runs.get(run_id, [])), parent))
            except ClearMLError as error:
                found.append((stored, error, ""))
        yield found


def _found(tasks: Tasks, run_ids: list[str], too_large: dict[str, TooLargeError]) -> dict[str, list[dict[str, Any]]]:
    """Return the Tasks of some runs; if they are too large for one answer, ask for halves.

    A single run whose answer is too large is put into `too_large`, with the error.

    Raises:
        ClearMLError: the server did not answer, or several runs' answers were too large.
    """
    try:
        of_runs = tasks.of_runs(run_ids, task_fields())
        tasks.add_configuration(list(itertools.chain(*of_runs.values())), OBJECT)
        return of_runs
    except TooLargeError as error:
        if len(run_ids) == 1:
            too_large[run_ids[0]] = error
            if len(too_large) < _MOST_TOO_LARGE:
                return {}
            raise
    middle = len(run_ids) // 2
    return _found(tasks, run_ids[:middle], too_large) | _found(tasks, run_ids[middle:], too_large)
