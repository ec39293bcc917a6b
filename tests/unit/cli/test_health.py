"""A follower reports whether it is alive, whether it is ready, and its counts."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import click
import pytest
import requests

from autoinstrument.clearml_api.errors import RefusedError
from autoinstrument.clearml_api.session import Session
from autoinstrument.cli.health import LIVE, ROUNDS, Health
from autoinstrument.sync.failures import KINDS, failed
from autoinstrument.sync.job_processes import JobProcesses
from autoinstrument.sync.request_counts import count_requests, counted
from autoinstrument.sync.selection import Outcome
from tests.clearml_server import ClearMLServer
from tests.end_to_end.processes import PATIENCE_S


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def failure(run_id: str) -> Outcome:
    return failed(run_id, "", RefusedError("no"))


def outcome(result: str, run_id: str = "a") -> Outcome:
    return Outcome(run_id, "", result, "reason")


def test_live_and_ready() -> None:
    clock = Clock()
    health = Health(clock)
    assert (health.is_live, health.is_ready) == (True, False), "no round has ended yet"
    health.end(ROUNDS, has_failed=False)
    assert health.is_ready
    clock.now += 600
    health.end(ROUNDS, has_failed=True)
    assert (health.is_live, health.is_ready) == (True, False), "a server is away"
    clock.now += 800
    health.note(outcome("synced"))
    clock.now += 800
    assert health.is_live, "a long round moves on run by run"
    clock.now += 200
    assert not health.is_live
    health.end(ROUNDS, has_failed=False)
    assert (health.is_live, health.is_ready) == (True, True)


def test_metrics() -> None:
    clock = Clock()
    health = Health(clock)
    for each in (outcome("synced"), failure("b"), outcome("unchanged", "c"), failure("d")):
        health.note(each)
    health.end(ROUNDS, has_failed=True)
    health.note(outcome("synced", "d"))
    clock.now += 12.5
    lines = [line for line in health.metrics().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not line.startswith("autoinstrument_sync_requests_total")] == [
        'autoinstrument_sync_runs_total{result="failed"} 2',
        'autoinstrument_sync_runs_total{result="synced"} 2',
        'autoinstrument_sync_runs_total{result="unchanged"} 1',
        *(
            f'autoinstrument_sync_errors_total{{kind="{kind}"}} {2 * (kind == "clearml_refused")}'
            for kind in sorted(KINDS)
        ),
        'autoinstrument_sync_rounds_total{outcome="failed"} 1',
        "autoinstrument_sync_runs_waiting 1",
        "autoinstrument_sync_behind_seconds 12.5",
        "autoinstrument_sync_last_success_timestamp_seconds 0.0",
    ]


def test_metrics_are_read_while_the_loop_counts() -> None:
    class Read(str):
        """A result; while it is read, the loop counts one of another kind."""

        __slots__ = ()

        def __format__(self, _: str) -> str:
            health.note(outcome("synced"))
            return str(self)

    health = Health()
    health.note(outcome(Read("failed")))
    assert 'runs_total{result="failed"} 1' in health.metrics()
    assert 'runs_total{result="synced"} 1' in health.metrics()


def test_health_of_looks_at_running_runs() -> None:
    """A look that fails makes the follower not ready, as a round does."""
    clock = Clock()
    health = Health(clock)
    health.end(ROUNDS, has_failed=False, followed=0)
    health.end(LIVE, has_failed=True, followed=0)
    assert not health.is_ready
    clock.now += 1
    health.end(LIVE, has_failed=False, followed=3)
    assert health.is_ready
    clock.now += 2
    clock.now += 895
    health.note(outcome("synced"))
    assert health.is_live
    clock.now += 10
    assert not health.is_live, "the looks are stuck"
    clock.now -= 905
    text = health.metrics()
    for line in (
        'looks_total{outcome="failed"} 1', 'looks_total{outcome="succeeded"} 1', "runs_followed 3",
        "live_behind_seconds 2.0", "live_last_success_timestamp_seconds 1001.0", "behind_seconds 3.0",
    ):  # fmt: skip
        assert f"autoinstrument_sync_{line}\n" in text


@pytest.mark.interpreter
def test_requests_are_counted_by_server_and_status(server: ClearMLServer) -> None:
    count_requests()
    count_requests()
    health, port = Health(), free_port()
    with health.served(f"127.0.0.1:{port}"):
        for path in ("live", "live", "nothing"):
            requests.get(f"http://me:secret@127.0.0.1:{port}/{path}", timeout=PATIENCE_S)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}/live", timeout=PATIENCE_S)
    counts = {status: count for (at, status), count in counted().items() if at == f"127.0.0.1:{port}"}
    assert counts == {"200": 2, "404": 1, "none": 1}
    assert f'requests_total{{server="127.0.0.1:{port}",status="404"}} 1' in health.metrics()
    with JobProcesses(1) as jobs:
        jobs.submit(ping).result()
    api = urlsplit(server.environ["CLEARML_API_HOST"]).netloc
    assert counted()[api, "200"] >= 1, "those of the processes of --jobs count, too"


def ping() -> None:
    Session().ping()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_probes_over_http() -> None:
    health, port = Health(), free_port()
    with health.served(f"127.0.0.1:{port}"):
        base = f"http://127.0.0.1:{port}"
        with urllib.request.urlopen(f"{base}/live") as answer:
            assert answer.read() == b"live\n"
        with urllib.request.urlopen(f"{base}/metrics") as answer:
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert b"# TYPE autoinstrument_sync_runs_total counter" in answer.read()
        for path, code in (("ready", 503), ("other", 404)):
            with pytest.raises(urllib.error.HTTPError, match=str(code)):
                urllib.request.urlopen(f"{base}/{path}")
        with pytest.raises(click.UsageError, match="name another address"), Health().served(f"127.0.0.1:{port}"):
            pass
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{base}/live")


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        ("", ("127.0.0.1", "[::1]")),
        pytest.param("[::1]", ("[::1]",), id="IPv6"),
        ("localhost", ("127.0.0.1",)),
    ],
)
def test_addresses(address: str, hosts: tuple[str, ...]) -> None:
    """In a cluster of IPv6 alone, a probe comes to an address of that kind."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    port = free_port()
    with Health().served(f"{address}:{port}"):
        for host in hosts:
            with urllib.request.urlopen(f"http://{host}:{port}/live") as answer:
                assert answer.read() == b"live\n"


def test_a_silent_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoinstrument.cli.health._SILENT_S", 0.1)
    port = free_port()
    with Health().served(f"127.0.0.1:{port}"), socket.create_connection(("127.0.0.1", port)) as silent:
        silent.settimeout(PATIENCE_S)
        assert silent.recv(1) == b""


@pytest.mark.parametrize("address", ["nonsense", "host:", "127.0.0.1:99999", "127.0.0.1:x"])
def test_no_address(address: str) -> None:
    with pytest.raises(click.UsageError, match="expected HOST:PORT"), Health().served(address):
        pass


def test_without_an_address_nothing_is_served() -> None:
    with Health().served(""):
        pass


def test_no_name_server_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none answers, that takes seconds, in which nothing listens."""
    monkeypatch.setattr(socket, "getfqdn", pytest.fail)
    with Health().served(f"127.0.0.1:{free_port()}"):
        pass
