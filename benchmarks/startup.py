"""`python3 benchmarks/startup.py`: the cost of an installed start-up hook at every start of the interpreter.

Makes three virtual environments in a temporary folder (bare, with autowrapt, with this wheel) and starts their
interpreters in turns, so that other work of the machine affects all of them alike. The wheel is installed without its
dependencies: a start loads none of them, and a longer list of files in site-packages would be measured in their place.
Standard library only; needs the package index for the installations.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Case(NamedTuple):
    """One way of starting an interpreter: the environment's name, what it shows, and the variables set."""

    environment: str
    name: str
    variables: dict[str, str]


CASES = [
    Case("bare", "bare virtual environment", {}),
    Case("autowrapt", "autowrapt installed, variable not set", {}),
    Case("agent", "autoinstrument installed, switch off", {}),
    Case("agent", "autoinstrument, switch on, MLflow never imported", {"AUTOINSTRUMENT_ENABLED": "1"}),
    Case("autowrapt", "autowrapt, variable set (loads wrapt)", {"AUTOWRAPT_BOOTSTRAP": "nothing"}),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--starts", type=int, default=200, metavar="N", help="starts of each case (default 200)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="startup-benchmark-") as folder:
        pythons = environments(Path(folder))
        modules = [loaded(pythons[case.environment], case.variables) for case in CASES]
        times = measure(pythons, options.starts)
    bare_ms = statistics.median(wall for wall, _ in times[0])
    rows = [
        {
            "case": case.name,
            "wall_ms": round(statistics.median(wall for wall, _ in measured), 2),
            "cpu_ms": round(statistics.median(cpu for _, cpu in measured), 2),
            "ratio": round(statistics.median(wall for wall, _ in measured) / bare_ms, 3),
            "modules": len(names - modules[0]),
        }
        for case, measured, names in zip(CASES, times, modules, strict=True)
    ]
    machine = f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores, load {load()}"
    if options.json:
        print(json.dumps({"machine": machine, "starts": options.starts, "cases": rows}, indent=2))
        return
    print(f"{machine}; median of {options.starts} starts of `python -c pass` each, in turns\n")
    print("| | wall ms | CPU ms | to bare | modules more than bare |\n| --- | ---: | ---: | ---: | ---: |")
    for row in rows:
        print("| {case} | {wall_ms:.1f} | {cpu_ms:.1f} | {ratio:.2f} | {modules} |".format(**row))


def environments(folder: Path) -> dict[str, str]:
    """Make the three environments; return their interpreters."""
    wheels = folder / "wheels"
    pythons = {}
    for name, package in (("bare", ""), ("autowrapt", "autowrapt"), ("agent", str(ROOT))):
        run(sys.executable, "-m", "venv", str(folder / name))
        pythons[name] = str(folder / name / "bin" / "python")
        pip = [pythons[name], "-m", "pip", "--disable-pip-version-check", "-q"]
        if package == str(ROOT):
            run(*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), package)
            package = str(next(wheels.glob("autoinstrument-*.whl")))
        if package:
            run(*pip, "install", *(["--no-deps"] if name == "agent" else []), package)
    return pythons


def measure(pythons: dict[str, str], starts: int) -> list[list[tuple[float, float]]]:
    """Start every case in turns, in a new order each time; return wall and CPU milliseconds of every start."""
    times: list[list[tuple[float, float]]] = [[] for _ in CASES]
    order = list(range(len(CASES)))
    for turn in range(-5, starts):  # the first five only fill the caches
        random.shuffle(order)
        for place in order:
            case = CASES[place]
            python = pythons[case.environment]
            began = time.perf_counter()
            pid = os.posix_spawn(python, [python, "-c", "pass"], clean(case.variables))
            _, status, usage = os.wait4(pid, 0)
            ended = time.perf_counter()
            if status != 0:
                raise SystemExit(f"{case.name}: exit status {status}")
            if turn >= 0:
                times[place].append(((ended - began) * 1000, (usage.ru_utime + usage.ru_stime) * 1000))
    return times


def loaded(python: str, variables: dict[str, str]) -> set[str]:
    """Return the names of the modules that the start alone loads."""
    code = "import sys; print(*sys.modules)"
    return set(subprocess.check_output([python, "-c", code], env=clean(variables), text=True).split())


def clean(variables: dict[str, str]) -> dict[str, str]:
    strays = ("PYTHON", "AUTO", "VIRTUAL_ENV", "COVERAGE")
    return {name: value for name, value in os.environ.items() if not name.startswith(strays)} | variables


def run(*command: str) -> None:
    subprocess.run(command, check=True, env=clean({}), stdout=sys.stderr)


def load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
