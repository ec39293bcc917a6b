"""Connections are kept open between requests. A server that closes one in between, or forgets it, costs no request and
makes nothing twice: urllib3 looks whether it was closed, and the attempt after a broken one has a new connection."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from autoinstrument.clearml_api.errors import HiccupError
from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.records import MetricsLogged, RunStarted
from autoinstrument.settings import Settings
from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import scalars
from tests.unit.clearml_api.idle_gateway import IdleGateway
from tests.unit.mirror.runs import PROCESS

RUN = RunStarted("1" * 32, "the run", "0", "exp", "sqlite:////x", "", "", 0, "", {}, False, True, "")
THREADS = 8
T0 = 1_600_000_000_000
Through = Callable[..., IdleGateway]


@pytest.fixture
def through(server: ClearMLServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Through]:
    """Puts a gateway between the agent and the server."""
    made: list[IdleGateway] = []

    def put(idle_s: float = 60.0, *, resets: bool) -> IdleGateway:
        gateway = IdleGateway(urlsplit(server.api_url).port or 0, idle_s=idle_s, resets=resets).__enter__()
        made.append(gateway)
        monkeypatch.setenv("CLEARML_API_HOST", gateway.url)
        return gateway

    yield put
    for gateway in made:
        gateway.__exit__(None, None, None)


def mirrored(folder: Path) -> RunMirror:
    session = Session()
    (folder / "captures").mkdir(mode=0o700)
    journal = RunJournal(folder / "captures" / RUN.run_id, RUN, PROCESS)
    return RunMirror(journal, Settings(), Tasks(session), Uploads(FileUploads(session)))


def log(mirror: RunMirror, step: int) -> None:
    mirror.take(MetricsLogged(RUN.run_id, [("loss", 0.5, T0 + step, step)]))


@pytest.mark.parametrize("resets", [False, True], ids=["closes", "resets"])
@pytest.mark.parametrize("idle_s", [0.0, 0.005])
def test_a_server_that_closes_idle_connections(
    server: ClearMLServer, through: Through, tmp_path: Path, idle_s: float, resets: bool
) -> None:
    """Requests come at about the moment when it does so."""
    through(idle_s, resets=resets)
    mirror, generator = mirrored(tmp_path), random.Random(1)
    for step in range(100):
        log(mirror, step)
        mirror.flush_without_end()
        time.sleep(generator.uniform(0.6, 1.1) * idle_s)
    mirror.end_as(End("completed", "", ""))
    mirror.flush()
    (task,) = server.tasks
    assert task["status"] == "completed"
    assert len(scalars(server, task["id"])) == 100
    assert len(server.calls("tasks.create")) == 1
    assert len(server.calls("events.add_batch")) <= 101


@pytest.mark.parametrize("resets", [False, True], ids=["closes", "resets"])
def test_a_gateway_that_forgets_kept_connections(
    server: ClearMLServer, through: Through, tmp_path: Path, resets: bool
) -> None:
    """A load balancer does so after some minutes of rest; whatever request comes then, nothing is made twice."""
    gateway, mirror = through(resets=resets), mirrored(tmp_path)
    mirror._context.tasks.projects.id_of("exp")
    gateway.forget()
    mirror.flush_without_end()
    assert gateway.lost == 1
    assert [request.endpoint for request in server.requests].count("tasks.create") == 1
    log(mirror, 1)
    gateway.forget()
    mirror.flush_without_end()
    gateway.forget()
    mirror.end_as(End("completed", "", ""))
    mirror.flush()
    (task,) = server.tasks
    assert (task["status"], len(scalars(server, task["id"])), gateway.lost) == ("completed", 1, 3)


def test_a_request_meets_one_forgotten_connection_at_most(server: ClearMLServer, through: Through) -> None:
    """There may be more of them than a request has attempts."""
    gateway, session = through(resets=True), Session()
    session.login.session()
    gateway.together = threading.Barrier(THREADS)
    with ThreadPoolExecutor(THREADS) as threads:
        assert all(threads.map(lambda _: session.call("debug.ping"), range(THREADS)))
    gateway.together = None
    for lost in range(1, THREADS):
        gateway.forget()
        assert session.call("tasks.get_all") == {"tasks": []}
        assert gateway.lost == lost


def test_one_attempt_is_one_attempt(server: ClearMLServer, through: Through) -> None:
    gateway, session = through(resets=False), Session()
    session.login.session()
    gateway.forget()
    with pytest.raises(HiccupError):
        session.call_once("tasks.create", name="one", type="training")
    assert server.tasks == []
    session.call_once("tasks.create", name="one", type="training")
    assert len(server.tasks) == 1
