from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.conftest import (
    database,
    fork_server,
    new_place,
    own_place,
    own_server,
    place,
    server,
    start_mlflow,
)
from tests.end_to_end.harness import Place
from tests.hosts.cluster import Cluster
from tests.hosts.network import Network, network_of

__all__ = ["database", "fork_server", "new_place", "own_place", "own_server", "place", "server"]  # fixtures


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    """Two hosts, and this one."""
    with (
        tempfile.TemporaryDirectory(prefix="hosts-", ignore_cleanup_errors=True) as folder,
        network_of(Path(folder), "alpha", "beta") as network,
    ):
        yield network


@pytest.fixture(scope="session")
def cluster_of_all(
    network: Network,
    database: Path,
    new_place: Callable[[ClearMLServer | None], Place],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    """The hosts, and servers that they can reach; one for all tests."""
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "w"), ClearMLServer(host=network.clearml) as server:
        address = start_mlflow(tmp_path_factory.mktemp("mlflow-server"), database, reading, "--host", "0.0.0.0")
        place = new_place(server)
        place.uri = address.replace("127.0.0.1", network.mlflow)
        yield Cluster(network, place, server)


@pytest.fixture
def cluster(cluster_of_all: Cluster) -> Iterator[Cluster]:
    """The hosts, with a new experiment; nothing of the test goes on after it."""
    cluster_of_all.experiment()
    yield cluster_of_all
    cluster_of_all.clean()
