"""The rows of the table: what is run, what is compared, and the goal."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import startup as starts
from benchmarks.processes import AGENT, BEST, PLAIN, Bench, Case, Measured, median
from benchmarks.scripts import BATCHES, BY_HAND, EMPTY_STORE, LATER, POINTS, RUNS
from tests.clearml_server import Fault

Cells = tuple[str, str, str, str, "bool | None"]
"""Figure, plain, with the agent, goal, and whether it is reached."""

NOTHING_LISTENS = {"CLEARML_API_HOST": "http://127.0.0.1:9"}
EXIT_TIMEOUT_S = 10


def startup(repeats: int) -> Iterator[Cells]:
    """The start of an interpreter; see `startup.py`, which has the whole table."""
    with tempfile.TemporaryDirectory(prefix="startup-benchmark-") as folder:
        times = starts.measure(starts.environments(Path(folder)), repeats * 40)
    bare, autowrapt, off, on = (statistics.median(wall for wall, _ in times[case]) for case in range(4))
    yield (
        "interpreter start, switch off (plain: autowrapt's .pth)", f"{autowrapt:.2f} ms", f"{off:.2f} ms",
        "≤ autowrapt; ≤ 1.02 × bare", off <= autowrapt * 1.01 and off <= bare * 1.02,
    )  # fmt: skip
    yield (
        "interpreter start, switch on, MLflow never imported", f"{bare:.2f} ms", f"{on:.2f} ms",
        "≤ bare + 3 ms", on <= bare + 3,
    )  # fmt: skip


def calls(bench: Bench, repeats: int, latencies: list[float]) -> Iterator[Cells]:
    """The additional cost of `log_metric` with a store that costs nothing."""
    found = bench.in_turns({"plain": Case(EMPTY_STORE), "agent": Case(EMPTY_STORE, AGENT)}, repeats)
    plain, agent = ([_calls(measured, "log_metric") for measured in found[name]] for name in ("plain", "agent"))
    middle = [statistics.median(map(statistics.median, each)) * 1e6 for each in (plain, agent)]
    rare = [statistics.median(_quantile(each, 0.999) for each in every) * 1e6 for every in (plain, agent)]
    for name, (without, with_it), limit in (("median", middle, 8), ("99.9th percentile", rare, 1000)):
        added = with_it - without
        yield (
            f"`log_metric`, {name}, store that does nothing", f"{without:.1f} µs", f"{with_it:.1f} µs (+{added:.1f})",
            f"≤ + {limit} µs", added <= limit,
        )  # fmt: skip


def points(bench: Bench, repeats: int, latencies: list[float]) -> Iterator[Cells]:
    """A script with 2,000 points: time, CPU, memory, requests; beside it the hand-written way."""
    cases = {
        "plain": Case(POINTS, PLAIN),
        "agent": Case(POINTS, AGENT),
        "default": Case(BY_HAND),
        "best": Case(BY_HAND, configuration=BEST),
    }
    for latency in latencies:
        with _latency(bench, latency):
            found = bench.in_turns(cases, repeats)
        agent, default, best = (median(found[name], _wall_s) for name in ("agent", "default", "best"))
        at = f"{latency * 1000:.0f} ms"
        yield _whole(f"2,000 points, whole process, {at}", found, 0.3 + 5 * latency)
        yield (
            f"the same by hand, {at}: default, best", f"{default:.2f} s", f"{best:.2f} s", "> with the agent",
            agent < best,
        )  # fmt: skip
        first = [_median_call(found[name], "start_run") * 1000 for name in ("plain", "agent")]
        yield (
            f"first `start_run`, {at}", f"{first[0]:.1f} ms", f"{first[1]:.1f} ms (+{first[1] - first[0]:.1f})",
            "≤ + 3 ms", first[1] - first[0] <= 3,
        )  # fmt: skip
        if latency == latencies[0]:
            cpu = [median(found[name], lambda one: one.cpu_s) for name in ("plain", "agent")]
            ratio = _paired(found, lambda plain, agent: agent.cpu_s / plain.cpu_s)
            yield (
                "CPU time of the training process", f"{cpu[0]:.2f} s", f"{cpu[1]:.2f} s ({ratio:.3f} ×)",
                "≤ 1.02 ×", ratio <= 1.02,
            )  # fmt: skip
            memory = [median(found[name], lambda one: one.peak_mb) for name in ("plain", "agent")]
            yield (
                "peak memory of the training process", f"{memory[0]:.0f} MB",
                f"{memory[1]:.0f} MB (+{memory[1] - memory[0]:.1f})", "≤ + 10 MB", memory[1] - memory[0] <= 10,
            )  # fmt: skip
            worker = median(found["agent"], lambda one: one.worker_mb)
            yield "peak memory of the worker", "", f"{worker:.0f} MB", "≤ 80 MB", worker <= 80
        sent = [round(median(found[name], lambda one: one.requests)) for name in ("default", "agent")]
        yield f"requests to ClearML, {at} (plain: by hand)", f"{sent[0]}", f"{sent[1]}", "≤ 12", sent[1] <= 12


def outages(bench: Bench, repeats: int, latencies: list[float]) -> Iterator[Cells]:
    """The same script if nothing listens, and if the server takes requests and never answers."""
    cases = {"plain": Case(POINTS), "agent": Case(POINTS, AGENT | NOTHING_LISTENS)}
    found = bench.in_turns(cases, repeats)
    yield _whole("2,000 points, nothing listens", found, 0.5)
    bench.server.faults.add(Fault(action="hang"))
    found = bench.in_turns(cases | {"agent": Case(POINTS, AGENT)}, repeats)
    bench.server.faults.clear()
    yield _whole("2,000 points, server hangs", found, EXIT_TIMEOUT_S)


def runs(bench: Bench, repeats: int, latencies: list[float]) -> Iterator[Cells]:
    """100 short runs in one process."""
    found = bench.in_turns({"plain": Case(RUNS), "agent": Case(RUNS, AGENT)}, repeats)
    yield _whole("100 short runs", found, 0.3, 1.05)
    found = bench.in_turns({"plain": Case(LATER), "agent": Case(LATER, AGENT)}, repeats)
    later = [
        statistics.median(statistics.median(one.calls["start_run"][1:]) for one in found[name]) * 1000
        for name in ("plain", "agent")
    ]
    yield (
        "later `start_run`, median", f"{later[0]:.2f} ms", f"{later[1]:.2f} ms (+{later[1] - later[0]:.2f})",
        "≤ + 0.3 ms", later[1] - later[0] <= 0.3,
    )  # fmt: skip


def batches(bench: Bench, repeats: int, latencies: list[float]) -> Iterator[Cells]:
    """200,000 points from 8 threads."""
    found = bench.in_turns({"plain": Case(BATCHES), "agent": Case(BATCHES, AGENT)}, repeats)
    yield _whole("200,000 points, 8 threads, `log_batch`", found, factor=1.05)


class _latency:  # noqa: N801  (reads as a statement)
    def __init__(self, bench: Bench, seconds: float) -> None:
        self._faults = bench.server.faults
        self._seconds = seconds

    def __enter__(self) -> None:
        if self._seconds:
            self._faults.add(Fault(latency=self._seconds))

    def __exit__(self, *_: object) -> None:
        self._faults.clear()


def _whole(figure: str, found: dict[str, list[Measured]], more_s: float = 0.0, factor: float = 1.0) -> Cells:
    """Compare the time of whole processes, that of each turn with that of the same turn: a machine's speed drifts."""
    plain, agent = (median(found[name], _wall_s) for name in ("plain", "agent"))
    added = _paired(found, lambda plain, agent: agent.wall_s - plain.wall_s)
    beyond = _paired(found, lambda plain, agent: agent.wall_s - plain.wall_s * factor)
    limit = "≤ " + ("plain" if factor == 1 else f"{factor} × plain") + (f" + {more_s:g} s" if more_s else "")
    return figure, f"{plain:.2f} s", f"{agent:.2f} s ({added:+.2f})", limit, beyond <= more_s


def _paired(found: dict[str, list[Measured]], compared: Callable[[Measured, Measured], float]) -> float:
    pairs = zip(found["plain"], found["agent"], strict=True)
    return statistics.median(compared(plain, agent) for plain, agent in pairs)


def _wall_s(measured: Measured) -> float:
    return measured.wall_s


def _calls(measured: Measured, name: str) -> list[float]:
    return measured.calls[name]


def _median_call(found: Sequence[Measured], name: str) -> float:
    return statistics.median(one.calls[name][0] for one in found)


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]
