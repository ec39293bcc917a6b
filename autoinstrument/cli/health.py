"""The health of a follower over HTTP, for Kubernetes and Prometheus: `sync --follow --health ADDRESS`.

`/live` and `/ready` answer 200 or 503 with one line; `/metrics` has Prometheus' text format, version 0.0.4
(https://prometheus.io/docs/instrumenting/exposition_formats/).
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer

import click

from autoinstrument.sync.failures import KINDS
from autoinstrument.sync.request_counts import counted
from autoinstrument.sync.selection import Outcome

_STUCK_S = 900.0
"""Without any progress for longer, the follower counts as stuck: a round reports each run, and each request to a server
has a time limit."""
_BEHIND_S = 300.0
"""Without a round that succeeded for longer, it is not ready."""
_SILENT_S = 30.0
"""A connection that sends nothing for longer is closed, because each one occupies a thread."""
ROUNDS, LIVE = "rounds", "live"
"""The two activities of a follower: rounds of `sync`, and looks at running runs."""
_PREFIX = "autoinstrument_sync_"


class Health:
    """The state of one follower; it is written by the loop and read by the threads that answer.

    Args:
        clock: returns seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._began = clock()
        self._moved_at = {ROUNDS: self._began}
        self._succeeded_at = {ROUNDS: 0.0}
        self._results: Counter[str] = Counter()
        self._errors: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        self._ends: Counter[tuple[str, str]] = Counter()
        self._followed: int | None = None
        self._waiting: dict[str, str] = {}

    def note(self, outcome: Outcome, feed: str = ROUNDS) -> None:
        """Note the outcome of a run, in a round or in a look."""
        self._moved_at[feed] = self._clock()
        self._results[outcome.result] += 1
        if outcome.error:
            self._errors[outcome.error] += 1
        if outcome.result == "failed":
            self._waiting[outcome.run_id] = outcome.detail
        else:
            self._waiting.pop(outcome.run_id, None)

    def end(self, feed: str, *, has_failed: bool, followed: int | None = None) -> None:
        """Note the end of a round of `sync`, or of a look at running runs.

        Args:
            feed: "rounds" or "live".
            has_failed: a server did not answer, or refused something.
            followed: how many running runs are mirrored, None without `--live`.
        """
        self._moved_at[feed] = self._clock()
        self._ends[feed, "failed" if has_failed else "succeeded"] += 1
        self._followed = followed
        self._succeeded_at.setdefault(feed, 0.0)
        if not has_failed:
            self._succeeded_at[feed] = self._moved_at[feed]
            if feed == ROUNDS:
                self._waiting.clear()

    @property
    def is_live(self) -> bool:
        """False if the follower is stuck, and should be started again."""
        return self._clock() - min(self._moved_at.values()) < _STUCK_S

    @property
    def is_ready(self) -> bool:
        """True if both servers answer, and all runs that have ended are complete."""
        return self._clock() - min(self._succeeded_at.values()) < _BEHIND_S

    def metrics(self) -> str:
        """Return all metrics in Prometheus' text format."""
        lines = [
            *_metric("runs_total", "counter", "Runs looked at, by what became of them.", "result", self._results),
            *_metric("errors_total", "counter", "Errors, by kind.", "kind", self._errors),
            *_series("requests_total", "counter", "HTTP requests, by server and status.", _requests()),
            *_metric("rounds_total", "counter", "Rounds, by how they ended.", "outcome", self._ends_of(ROUNDS)),
            *_metric("runs_waiting", "gauge", "Runs that failed last, and are tried again.", "", len(self._waiting)),
            *self._success(ROUNDS, "", "round"),
        ]
        if self._followed is not None:
            lines += [
                *_metric("looks_total", "counter", "Looks at running runs.", "outcome", self._ends_of(LIVE)),
                *_metric("runs_followed", "gauge", "Running runs that are mirrored.", "", self._followed),
                *self._success(LIVE, "live_", "look at running runs"),
            ]
        return "\n".join(lines) + "\n"

    def _ends_of(self, feed: str) -> dict[str, int]:
        return {outcome: count for (of, outcome), count in dict(self._ends).items() if of == feed}

    def _success(self, feed: str, prefix: str, what: str) -> Iterator[str]:
        at = self._succeeded_at.get(feed, 0.0)
        behind_s = round(self._clock() - (at or self._began), 3)
        yield from _metric(f"{prefix}behind_seconds", "gauge", f"Age of the last {what} that succeeded.", "", behind_s)
        yield from _metric(
            f"{prefix}last_success_timestamp_seconds", "gauge", f"When a {what} succeeded last, 0 for never.", "",
            round(at, 3),
        )  # fmt: skip

    @contextlib.contextmanager
    def served(self, address: str) -> Iterator[None]:
        """Answer at an address while the block runs; at none if it is empty.

        Args:
            address: "HOST:PORT"; an IPv6 address in brackets; without a host, all addresses of the machine.

        Raises:
            click.UsageError: it is not an address, or cannot be used.
        """
        if not address:
            yield
            return
        host, _, port = address.rpartition(":")
        try:
            server = _Server(host.strip("[]"), int(port), _handler(self))
        except (ValueError, OverflowError):
            raise click.UsageError(f"--health {address!r} is not an address: expected HOST:PORT, as in :8080") from None
        except OSError as error:
            raise click.UsageError(
                f"--health {address} cannot be used ({error.strerror}): name another address"
            ) from None
        with server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                yield
            finally:
                server.shutdown()


class _Server(ThreadingHTTPServer):
    """Listens at one address; without a host, at those of IPv4 and of IPv6, of which a pod may have one kind alone."""

    daemon_threads = True

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        if not host and socket.has_dualstack_ipv6():
            host = "::"
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            with contextlib.suppress(AttributeError, OSError):  # a system on which a socket has one family alone
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        TCPServer.server_bind(self)  # HTTPServer's also asks for the host's name, for seconds without a DNS server


def _metric(name: str, kind: str, meaning: str, label: str, values: Mapping[str, float] | float) -> Iterator[str]:
    by_value = dict(values) if isinstance(values, Mapping) else {"": values}  # the loop goes on counting
    labelled = {f'{{{label}="{value}"}}' if label else "": number for value, number in by_value.items()}
    yield from _series(name, kind, meaning, labelled)


def _series(name: str, kind: str, meaning: str, labelled: Mapping[str, float]) -> Iterator[str]:
    yield f"# HELP {_PREFIX}{name} {meaning}"
    yield f"# TYPE {_PREFIX}{name} {kind}"
    for labels, number in sorted(labelled.items()):
        yield f"{_PREFIX}{name}{labels} {number}"


def _requests() -> dict[str, float]:
    return {f'{{server="{server}",status="{status}"}}': count for (server, status), count in counted().items()}


def _handler(health: Health) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _SILENT_S

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
