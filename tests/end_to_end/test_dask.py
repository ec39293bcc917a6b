"""`sync --dask` spreads its work over processes of a cluster."""

from __future__ import annotations

import pytest
from mlflow.tracking import MlflowClient

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import tasks_of
from tests.unit.conftest import client as client
from tests.unit.sync.test_stored import a_run, autoinstrument
from tests.unit.sync.test_stored import server as server

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_a_cluster_does_the_work(server: ClearMLServer, client: MlflowClient) -> None:
    """Two Dask workers, each a separate process, do the work of one machine."""
    distributed = pytest.importorskip("distributed")
    ids = [a_run(client, f"far {n}", points=3) for n in range(4)]
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        done = autoinstrument("sync", "--all", "--dask", cluster.scheduler_address)
    assert done.exit_code == 0, done.output
    assert len(tasks_of(server, *ids)) == len(ids)
    assert autoinstrument("verify").exit_code == 0
