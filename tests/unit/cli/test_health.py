"""A follower says whether it lives, whether it is ready, and what it has done."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import click
import pytest

from autoinstrument.cli.health import LIVE, ROUNDS, Health
from autoinstrument.sync.selection import Outcome


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


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
    for each in (outcome("synced"), outcome("failed", "b"), outcome("unchanged", "c"), outcome("failed", "d")):
        health.note(each)
    health.end(ROUNDS, has_failed=True)
    health.note(outcome("synced", "d"))
    clock.now += 12.5
    lines = [line for line in health.metrics().splitlines() if not line.startswith("#")]
    assert lines == [
        'autoinstrument_sync_runs_total{result="failed"} 2',
        'autoinstrument_sync_runs_total{result="synced"} 2',
        'autoinstrument_sync_runs_total{result="unchanged"} 1',
        'autoinstrument_sync_rounds_total{outcome="failed"} 1',
        "autoinstrument_sync_runs_waiting 1",
        "autoinstrument_sync_behind_seconds 12.5",
        "autoinstrument_sync_last_success_timestamp_seconds 0.0",
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_over_http() -> None:
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
        with pytest.raises(click.UsageError, match="name another port"), Health().served(f"127.0.0.1:{port}"):
            pass
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{base}/live")


@pytest.mark.parametrize("address", ["nonsense", "host:", "127.0.0.1:99999", "127.0.0.1:x"])
def test_no_address(address: str) -> None:
    with pytest.raises(click.UsageError, match="expected HOST:PORT"), Health().served(address):
        pass


def test_none_is_asked_for() -> None:
    with Health().served(""):
        pass
