"""The tiers of the tests, and how they run.

Standard library only, and Python 3.10 or newer, as `__main__.py`.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO, NamedTuple

from tests.junit_report import count, failures

ROOT = Path(__file__).resolve().parent.parent
_CORES = os.cpu_count() or 1
_SIGN_OF_LIFE_S = 30
_FAILED = 1
"""pytest's exit code if tests have failed, and nothing else was wrong."""
_NOTHING_SELECTED = 5
"""pytest's exit code if its arguments select no test."""
_MOST_AGAIN = 5
"""More failures in one tier are no chance."""


class Tier(NamedTuple):
    """A part of the suite that is run, timed and reported by itself.

    Attributes:
        name: the word that selects it on the command line.
        holds: its contents, for `--help`.
        folders: folders of tests, relative to the project.
        groups: dependency groups that it needs.
        processes: number of processes that pytest runs its tests in.
        options: pytest options.
        left_out: a marker; tests that have it are left to the tier that names it as `taken_over`.
        taken_over: a marker; tests of the unit tier that have it run here.
        is_default: True if it runs without being named.
    """

    name: str
    holds: str
    folders: tuple[str, ...] = ()
    groups: tuple[str, ...] = ("test",)
    processes: int = 2 * _CORES  # most tests wait for processes and servers, not for a core
    options: tuple[str, ...] = ()
    left_out: str = ""
    taken_over: str = ""
    is_default: bool = True


TIERS = (
    Tier("unit", "the package in one process, without torch: two minutes", ("tests/unit", "tests/structure"),
         processes=_CORES + 1, left_out="interpreter"),  # some tests wait
    Tier("lint", "ruff, mypy for each platform, and the documentation's pages", groups=("test", "lint", "docs")),
    Tier("processes", "training scripts as processes, and the ClearML server made for tests",
         ("tests/end_to_end", "tests/double")),
    Tier("interpreters", "start-up, commands of the documentation, deployments: a new interpreter for each test",
         ("tests/startup", "tests/security", "tests/documentation", "tests/deployment"), taken_over="interpreter"),
    Tier("frameworks", "frameworks that log to MLflow by themselves", ("tests/frameworks",), ("test", "frameworks")),
    Tier("browser", "MLflow's pages in Chromium", ("tests/browser",), ("test", "browser")),
    Tier("stores", "artifact stores and ways to MLflow's server; Azure's needs azurite-blob (`npm install azurite`)",
         ("tests/stores",), ("test", "stores")),
    Tier("oldest", "the core tests on the oldest Python, MLflow, ClearML and wrapt", groups=("lint",)),
    Tier("faults", "every fault at every moment: an hour, only if it is named", ("tests/end_to_end/test_faults.py",),
         options=("--all-faults",), is_default=False),
    Tier("hosts", "programs on several hosts, made of namespaces; needs root, takes long, only if it is named",
         ("tests/hosts",), ("test", "frameworks", "hosts"), processes=1, is_default=False),  # they share the hosts
    Tier("soak", "a follower over 20,000 runs: hours, only if it is named; SOAK_RUNS makes it shorter",
         ("tests/soak",), is_default=False),
)  # fmt: skip
"""In the order in which they begin: a fault shows first in the cheapest tier."""


class Result(NamedTuple):
    """The result of a tier. Processor time is that of all its processes except those that have detached."""

    tier: str
    passed: bool
    numbers: str
    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        return f"{self.tier:<12} {self.numbers:<32} {self.wall_s:5.0f} s  {self.cpu_s:5.0f} CPU s  {verdict}"


def select(arguments: Sequence[str]) -> tuple[list[Tier], list[str]]:
    """Return the tiers to run, their folders narrowed to paths among the arguments, and the arguments for pytest."""
    by_name = {tier.name: tier for tier in TIERS}
    rest = list(arguments)
    named = []
    while rest and rest[0] in by_name:
        named.append(by_name[rest.pop(0)])
    paths = [word for word in rest if not word.startswith("-") and (ROOT / word.partition("::")[0]).exists()]
    rest = [word for word in rest if word not in paths]
    tiers = named or [tier for tier in TIERS if tier.is_default and (tier.folders or not (rest or paths))]
    if paths:
        narrowed = [
            tier._replace(folders=tuple(path for path in paths if _holds(tier, path)), left_out="", taken_over="")
            for tier in tiers
        ]
        tiers = [tier for tier in narrowed if tier.folders]
    return tiers, rest


def _holds(tier: Tier, path: str) -> bool:
    file = Path(os.path.normpath(path.partition("::")[0]))
    return any(Path(folder) in (file, *file.parents) for folder in tier.folders)


def run(
    tiers: list[Tier],
    python: str,
    arguments: list[str],
    venv: Path | None,
    *,
    lanes: int,
    keep_going: bool,
    again: bool = False,
) -> Iterator[Result]:
    """Run tiers and yield their results as they end: the first one alone, then several beside each other.

    Args:
        tiers: the tiers, which begin in this order.
        python: interpreter of the environment that has what they need.
        arguments: arguments for pytest.
        venv: folder of the environment, if it was named.
        lanes: how many tiers run beside each other. What these print is shown when they end. With 1, all is shown at
            once.
        keep_going: False if no tier may begin after one that failed.
        again: True if few failed tests of a tier are run once more, alone; if they pass then, so does the tier.
    """
    failed = threading.Event()

    def run_one(tier: Tier, output: IO[bytes] | None) -> Result | None:
        if failed.is_set() and not keep_going:
            return None
        with tempfile.TemporaryDirectory(prefix="autoinstrument-tests-") as scratch:
            result = _run_tier(tier, python, arguments, Path(scratch), venv, output, again=again)
        if not result.passed:
            failed.set()
        return result

    alone = tiers[:1] if lanes > 1 else tiers
    for tier in alone:
        if result := run_one(tier, None):
            yield result
    rest = tiers[len(alone) :]
    with contextlib.ExitStack() as files, ThreadPoolExecutor(lanes) as pool:
        outputs = [files.enter_context(tempfile.TemporaryFile()) for _ in rest]
        running = {pool.submit(run_one, tier, output): output for tier, output in zip(rest, outputs, strict=True)}
        try:
            for future in _as_they_end(list(running)):
                if result := future.result():
                    _show(running[future], None)
                    yield result
        except KeyboardInterrupt:  # which the tests get, too
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _as_they_end(futures: list[Future[Result | None]]) -> Iterator[Future[Result | None]]:
    """Yield futures as they end, and print a sign of life while none does."""
    began = time.monotonic()
    while futures:
        ended = wait(futures, _SIGN_OF_LIFE_S, FIRST_COMPLETED).done
        if not ended:
            print(f"   {time.monotonic() - began:.0f} s", flush=True)
        for future in ended:
            futures.remove(future)
            yield future


def _run_tier(
    tier: Tier,
    python: str,
    arguments: list[str],
    scratch: Path,
    venv: Path | None,
    output: IO[bytes] | None,
    *,
    again: bool,
) -> Result:
    """Run a tier; what it prints goes to a file, or, for None, where this process prints."""
    report = scratch / "report.xml"
    pytest = ["-n", str(tier.processes), f"--junitxml={report}"]
    if again:  # tiers beside each other must not share the list of failed tests
        pytest += ["-o", f"cache_dir={scratch / 'cache'}"]
    if tier.name == "lint":
        commands = [  # beside each other, each on one core
            ["ruff", "check", "."],
            ["ruff", "format", "--check", "."],
            *(  # a cache each: with another platform, nothing of a cache is valid
                ["mypy", "--platform", platform, "--cache-dir", f".mypy_cache/{platform}"]
                for platform in ("linux", "darwin", "win32")
            ),
            ["mkdocs", "build", "--strict", "--quiet", "--site-dir", str(scratch / "site")],
        ]
    elif tier.name == "oldest":  # the other corner of what is supported; all else runs on the newest releases
        environments = venv.absolute() / "nox" if venv else ROOT / ".nox"
        nox = ["nox", "--session", "oldest", "--envdir", str(environments), "--reuse-existing-virtualenvs"]
        commands = [[*nox, "--", *pytest, *arguments]]
    else:  # a later -n has the last word
        folders, markers = list(tier.folders), list[str]()
        if tier.left_out:
            markers = ["-m", f"not {tier.left_out}"]
        elif tier.taken_over:
            folders += files_with(tier.taken_over)
            markers = ["-m", f"{tier.taken_over} or not unit"]
        commands = [["pytest", *folders, *pytest, "--dist", "worksteal", *markers, *tier.options, *arguments]]
    if output is not None:
        say(f"{tier.name} begins")
    began, used = time.monotonic(), 0.0

    def run_command(command: list[str], output: IO[bytes] | None = output) -> int:
        nonlocal used
        line = f"{tier.name}: {' '.join(command)}"
        if output is None:
            say(line)
        else:
            output.write(f"== {line}\n".encode())
            output.flush()
        code, cpu_s = _run_measured([python, "-m", *command], output)
        used += cpu_s
        return code

    if len(commands) > 1:
        with contextlib.ExitStack() as files, ThreadPoolExecutor(_CORES) as pool:
            outputs = [files.enter_context(tempfile.TemporaryFile()) for _ in commands]
            codes = list(pool.map(run_command, commands, outputs))
            for printed in outputs:
                _show(printed, output)
    else:
        codes = [run_command(commands[0])]
    fine = {0, _NOTHING_SELECTED} if arguments else {0}
    numbers = count(report) if tier.name != "lint" else f"{len(commands)} checks"
    if again and codes == [_FAILED] and report.exists() and 0 < failures(report) <= _MOST_AGAIN:
        codes = [run_command([*commands[0], "--last-failed", "-n", "0", f"--junitxml={scratch / 'again.xml'}"])]
        numbers += "; passed alone" if codes == [0] else ""
    return Result(tier.name, fine.issuperset(codes), numbers, time.monotonic() - began, used)


def _show(printed: IO[bytes], output: IO[bytes] | None) -> None:
    """Copy what a command has printed to a file, or, for None, to where this process prints."""
    printed.seek(0)
    if output is None:
        print(printed.read().decode("utf-8", "replace"), end="", flush=True)
    else:
        output.write(printed.read())


def files_with(marker: str) -> list[str]:
    """Return the files of unit tests that have a marker."""
    files = sorted((ROOT / "tests" / "unit").rglob("test_*.py"))
    pattern = re.compile(rf"\bpytest\.mark\.{marker}\b")
    return [str(file.relative_to(ROOT)) for file in files if pattern.search(file.read_text("utf-8"))]


def _run_measured(command: list[str], output: IO[bytes] | None) -> tuple[int, float]:
    """Run a command and return its exit code, and the processor time in seconds of it and of all that it waited for.

    The time is 0 on Windows.
    """
    with subprocess.Popen(command, cwd=ROOT, env=environ(), stdout=output, stderr=output) as process:
        if sys.platform == "win32":
            return process.wait(), 0.0
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode, usage.ru_utime + usage.ru_stime


def environ() -> dict[str, str]:
    """Return this process's variables without those that would lead an interpreter away from its environment.

    Without PYTHONDONTWRITEBYTECODE too: each process that runs tests would compile all of them again, for 3 s.
    """
    strays = (
        "PYTHONHOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__",
        "AUTOINSTRUMENT_ENABLED",
    )  # fmt: skip
    kept = {name: value for name, value in os.environ.items() if name not in strays}
    return {**kept, "NO_MKDOCS_2_WARNING": "1"}  # a page of advertisement on stderr


def say(text: str) -> None:
    print(f"== {text}", flush=True)
