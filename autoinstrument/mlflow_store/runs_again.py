"""Find runs as they are now that were found before, many with one request."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Iterator

from autoinstrument.guard import own_calls
from autoinstrument.mlflow_store.runs import StoredRun, all_runs, find_run, stored_run
from autoinstrument.mlflow_store.store_errors import NotFoundError, if_supported
from autoinstrument.mlflow_store.stores import tracking_client
from autoinstrument.mlflow_store.workspaces import each_in_workspace

_AT_ONCE = 100
"""Runs that one request finds by their ids."""


def found_again(runs: Collection[StoredRun]) -> Iterator[StoredRun]:
    """Yield runs that were found before as they are now, with one request for many; without those that are gone.

    Raises:
        mlflow.exceptions.MlflowException: the store does not answer.
    """
    places: dict[tuple[str, str], list[StoredRun]] = {}
    for stored in runs:
        places.setdefault((stored.run.tracking_uri, stored.run.workspace), []).append(stored)
    for place, known in places.items():
        for some in (known[first : first + _AT_ONCE] for first in range(0, len(known), _AT_ONCE)):
            yield from (found := if_supported(functools.partial(_found_by_ids, *place, some)))
            for stored in () if found else some:  # all are gone, or the service has no such search
                with contextlib.suppress(NotFoundError):
                    yield find_run(stored.run.run_id, *place)


def _found_by_ids(uri: str, workspace: str, known: Collection[StoredRun]) -> list[StoredRun]:
    from mlflow.entities import ViewType

    names = {each.run.experiment_id: each.run.experiment_name for each in known}
    wanted = f"attributes.run_id IN ({', '.join(repr(each.run.run_id) for each in known)})"
    with own_calls():
        found = all_runs(tracking_client(uri), names, filter_string=wanted, run_view_type=ViewType.ALL)
        found = each_in_workspace(workspace, found)
        return [stored_run(run, uri, workspace, names[run.info.experiment_id]) for run in found]
