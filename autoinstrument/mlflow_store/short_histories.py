"""Read the new points of a metric of many runs with one request, as long as the runs' histories are short.

`mlflow server` answers a request for one history in 6 to 8 ms of CPU time, most of it for the request itself, and the
one for a chart of several runs in 0.4 ms a run with ten points (3.17 on SQLite). The latter returns whole histories,
and ends after so many points without a word: histories that may be cut off are left to `new_points`. Its other call for
charts, `get-history-bulk-interval`, leaves out points of long histories, and searches run by run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from autoinstrument.guard import logger, own_calls
from autoinstrument.mlflow_store import history_internals, internals
from autoinstrument.mlflow_store.new_points import ReadPosition, behind, in_order_of_server
from autoinstrument.mlflow_store.stores import tracking_client
from autoinstrument.mlflow_store.workspaces import in_workspace
from autoinstrument.records import Point

SHORT = 200
"""Points of a history that are read again with the new ones: fewer cost less than a request of their own."""
MOST_RUNS = 50
"""Runs of one request: their ids are a part of its address."""
_MOST = 10_000
"""Points of one answer."""
_PAUSE_S = 60.0
"""How long a store that did not answer, or has no such call, is not asked again."""
_refused: dict[str, float] = {}
"""Addresses of such stores, and until when, by the monotonic clock."""


def new_points_of_runs(
    tracking_uri: str, workspace: str, key: str, positions: Mapping[str, ReadPosition]
) -> dict[str, list[Point]]:
    """Return the points of one metric after their positions, by run; runs that must be read one by one are missing.

    Args:
        tracking_uri: address of the store.
        workspace: the workspace of the runs.
        key: name of the metric.
        positions: positions by id of the run, of `MOST_RUNS` runs at most.
    """
    if time.monotonic() < _refused.get(tracking_uri, 0.0):
        return {}
    try:
        with own_calls(), in_workspace(workspace):
            store = tracking_client(tracking_uri).store
            found = history_internals.bulk_history(store, sorted(positions), key, _MOST)
            is_server = history_internals.history_module(store) == internals.SERVER_STORE
    except Exception as error:  # reading them one by one decides: it succeeds, or raises an error that counts
        logger().debug("%s is read run by run: %s: %s", key, type(error).__name__, error)
        _refused[tracking_uri] = time.monotonic() + _PAUSE_S
        return {}
    histories: dict[str, list[Point]] = {}
    for run_id, point in found:
        histories.setdefault(run_id, []).append(point)
    if len(found) >= _MOST:
        complete = list(histories)[:-1]  # the runs come one after the other
        histories = {run_id: histories[run_id] for run_id in complete}
    return {
        run_id: behind(in_order_of_server(points) if is_server else points, positions[run_id])
        for run_id, points in histories.items()
        if run_id in positions
    }
