"""What `sync --follow --health ADDRESS` reports of itself over HTTP, for Kubernetes and Prometheus.

`/live` and `/ready` answer 200 or 503 with one line; `/metrics` has Prometheus' text format, version 0.0.4
(https://prometheus.io/docs/instrumenting/exposition_formats/).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import click

from autoinstrument.sync.selection import Outcome

_STUCK_S = 900.0
"""Without any progress for longer, the follower counts as stuck: a round reports each run, and each request to a server
has a time limit."""
_BEHIND_S = 300.0
"""Without a round that succeeded for longer, it is not ready."""
_PREFIX = "autoinstrument_sync_"


class Health:
    """The state of one follower; it is written by the loop and read by the threads that answer.

    Args:
        clock: returns seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._began = self._moved_at = clock()
        self._succeeded_at = 0.0
        self._results: Counter[str] = Counter()
        self._rounds: Counter[str] = Counter()
        self._waiting: dict[str, str] = {}

    def note(self, outcome: Outcome) -> None:
        """Note what became of a run."""
        self._moved_at = self._clock()
        self._results[outcome.result] += 1
        if outcome.result == "failed":
            self._waiting[outcome.run_id] = outcome.detail
        else:
            self._waiting.pop(outcome.run_id, None)

    def end_round(self, *, has_failed: bool) -> None:
        """Note the end of a round; `has_failed` if a server did not answer, or took something not."""
        self._moved_at = self._clock()
        self._rounds["failed" if has_failed else "succeeded"] += 1
        if not has_failed:
            self._succeeded_at = self._moved_at
            self._waiting.clear()

    @property
    def is_live(self) -> bool:
        """False if the follower is stuck, and should be started again."""
        return self._clock() - self._moved_at < _STUCK_S

    @property
    def is_ready(self) -> bool:
        """True if both servers answer, and all runs that have ended are complete."""
        return self._clock() - self._succeeded_at < _BEHIND_S

    def metrics(self) -> str:
        """Return all metrics in Prometheus' text format."""
        behind_s = self._clock() - (self._succeeded_at or self._began)
        waiting = len(self._waiting)
        lines = [
            *_metric("runs_total", "counter", "Runs looked at, by what became of them.", "result", self._results),
            *_metric("rounds_total", "counter", "Rounds, by how they ended.", "outcome", self._rounds),
            *_metric("runs_waiting", "gauge", "Runs that failed last, and are tried again.", "", {"": waiting}),
            *_metric("behind_seconds", "gauge", "Age of the last round that succeeded.", "", {"": round(behind_s, 3)}),
            *_metric(
                "last_success_timestamp_seconds", "gauge", "When a round succeeded last, 0 for never.", "",
                {"": round(self._succeeded_at, 3)},
            ),
        ]  # fmt: skip
        return "\n".join(lines) + "\n"

    @contextlib.contextmanager
    def served(self, address: str) -> Iterator[None]:
        """Answer at an address while the block runs; at none if it is empty.

        Args:
            address: "HOST:PORT"; without a host, all addresses of the machine.

        Raises:
            click.UsageError: it is no such address, or cannot be used.
        """
        if not address:
            yield
            return
        host, _, port = address.rpartition(":")
        try:
            server = ThreadingHTTPServer((host.strip("[]"), int(port)), _handler(self))
        except (ValueError, OverflowError):
            raise click.UsageError(f"--health {address!r} is no address: expected HOST:PORT, as in :8080") from None
        except OSError as error:
            raise click.UsageError(f"--health {address} cannot be used ({error.strerror}): name another port") from None
        server.daemon_threads = True
        with server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                yield
            finally:
                server.shutdown()


def _metric(name: str, kind: str, meaning: str, label: str, values: dict[str, int] | dict[str, float]) -> Iterator[str]:
    yield f"# HELP {_PREFIX}{name} {meaning}"
    yield f"# TYPE {_PREFIX}{name} {kind}"
    for value, number in sorted(values.items()):
        labels = f'{{{label}="{value}"}}' if label else ""
        yield f"{_PREFIX}{name}{labels} {number}"


def _handler(health: Health) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, kind = self.path.partition("?")[0], "text/plain; charset=utf-8"
            if path == "/metrics":
                code, text, kind = 200, health.metrics(), "text/plain; version=0.0.4; charset=utf-8"
            elif path == "/live":
                code, text = (200, "live\n") if health.is_live else (503, "stuck\n")
            elif path == "/ready":
                code, text = (200, "ready\n") if health.is_ready else (503, "no round has succeeded lately\n")
            else:
                code, text = 404, "there are /live, /ready and /metrics\n"
            body = text.encode()
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Log nothing: probes come every few seconds."""

    return Handler
