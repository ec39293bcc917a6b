"""`python3 -m benchmarks`: the agent's cost in a training process; one table, each row measured within one run.

Whole processes, in turns and in a new order each time, medians. The ClearML server is the one made for tests, with
latency on request. `--rows` chooses; without it, all take most of an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Row(NamedTuple):
    """A figure: its value without the agent (or ""), its value with it, and its goal."""

    figure: str
    plain: str
    agent: str
    limit: str
    reached: bool | None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="of each case (default 5)")
    parser.add_argument("--latency", default="0,50,200", metavar="MS,…", help="of the server (default 0,50,200)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--small", action="store_true", help="run the rows of many processes with few and short ones")
    parser.add_argument("--rows", default="", metavar="NAME,…", help=f"of {', '.join(GROUPS)}; all by default")
    options = parser.parse_args()
    chosen = options.rows.split(",") if options.rows else list(GROUPS)
    unknown = [name for name in chosen if name not in GROUPS]
    if unknown:
        parser.error(f"there are no rows {unknown[0]!r}; choose from {', '.join(GROUPS)}")
    latencies = [int(word) / 1000 for word in options.latency.split(",")]
    _in_the_tests_environment()
    rows: list[Row] = []
    machine = f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores"
    began = f"load {os.getloadavg()[0]:.1f}"
    if not options.json:
        print(f"{machine}, {began} at the beginning, {options.repeats} repeats\n\n{HEAD}", flush=True)
    for name in chosen:
        group = _shared(name, small=options.small) if name in SHARED else GROUPS[name]
        for row in group(options.repeats, latencies):
            rows.append(row)
            if not options.json:
                print(_line(row), flush=True)
    if options.json:
        told = {"machine": machine, "began": began, "repeats": options.repeats, "rows": [row._asdict() for row in rows]}
        print(json.dumps(told, indent=2))
    return 1 if any(row.reached is False for row in rows) else 0


HEAD = "| figure | plain | with the agent | must reach | |\n| --- | ---: | ---: | --- | --- |"


def _line(row: Row) -> str:
    mark = {True: "yes", False: "**no**", None: ""}[row.reached]
    return f"| {row.figure} | {row.plain} | {row.agent} | {row.limit} | {mark} |"


def _in_the_tests_environment() -> None:
    """Go on in the environment of the tests, made if need be, unless this one has all that is measured."""
    try:
        import mlflow  # noqa: F401
        import psutil  # noqa: F401

        import autoinstrument  # noqa: F401
    except ModuleNotFoundError:
        from tests.__main__ import environment

        python = environment(("test",))
        os.execv(python, [python, "-m", "benchmarks", *sys.argv[1:]])


def _startup(repeats: int, latencies: list[float]) -> Iterator[Row]:
    from benchmarks.rows import startup

    for row in startup(repeats):
        yield Row(*row)


def _group(name: str) -> Callable[[int, list[float]], Iterator[Row]]:
    def rows(repeats: int, latencies: list[float]) -> Iterator[Row]:
        from benchmarks import rows as measured
        from benchmarks.processes import bench

        with bench() as on:
            for row in getattr(measured, name)(on, repeats, latencies):
                yield Row(*row)

    return rows


def _shared(name: str, *, small: bool = False) -> Callable[[int, list[float]], Iterator[Row]]:
    def rows(repeats: int, latencies: list[float]) -> Iterator[Row]:
        from benchmarks import shared
        from benchmarks.processes import bench

        with bench() as on:
            for row in getattr(shared, name)(on, repeats, shared.SMALL if small else shared.FULL):
                yield Row(*row)

    return rows


SHARED = ("scripts", "memory", "requests", "burst", "sync")
"""Rows of many training processes on one machine, and of `sync`; Linux."""
GROUPS: dict[str, Callable[[int, list[float]], Iterator[Row]]] = {
    "startup": _startup,
    **{name: _group(name) for name in ("calls", "points", "outages", "runs", "batches")},
    **{name: _shared(name) for name in SHARED},
}

if __name__ == "__main__":
    sys.exit(main())
