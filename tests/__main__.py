"""`python3 -m tests [TIER ...] [PYTEST ARGUMENT ...]`: make the environment that the tests need, and run them by tiers.

Standard library only, and Python 3.10 or newer: nothing needs to be installed before. `examples/demo.py` takes its
environment from here too.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
_OLDEST = (3, 10)
_CORES = os.cpu_count() or 1
# What an environment takes on disk by dependency group, without CUDA, which pip adds to torch where it can.
_SIZES_GB = {"test": 1.0, "frameworks": 1.9, "stores": 0.2, "hosts": 0.6}
_HEARTBEAT_S = 30
# What an installation is made from; a change to the code itself needs no new one, because it is editable.
_SOURCES = ("pyproject.toml", "autoinstrument/startup/autoinstrument-init.pth", "autoinstrument/_version.py")
_NOTHING_SELECTED = 5
"""pytest's exit code if its arguments select no test."""


class Tier(NamedTuple):
    """A part of the suite that is run, timed and reported by itself.

    Attributes:
        name: the word that selects it on the command line.
        holds: its contents, for `--help`.
        folders: folders of tests, relative to the project.
        groups: dependency groups that it needs.
        processes: number of processes that pytest runs its tests in.
        options: pytest options.
        is_default: True if it runs without being named.
    """

    name: str
    holds: str
    folders: tuple[str, ...] = ()
    groups: tuple[str, ...] = ("test",)
    processes: int = 2 * _CORES  # most tests wait for processes and servers, not for a core
    options: tuple[str, ...] = ()
    is_default: bool = True


TIERS = (
    Tier("unit", "the package in one process, without torch: a minute", ("tests/unit", "tests/structure"),
         processes=_CORES + 1),  # some tests wait
    Tier("lint", "ruff, mypy for each platform, and the documentation's pages", groups=("test", "lint", "docs")),
    Tier("processes", "training scripts as processes, and the ClearML server made for tests",
         ("tests/end_to_end", "tests/double")),
    Tier("interpreters", "start-up, commands of the documentation, deployments: a new interpreter for each test",
         ("tests/startup", "tests/security", "tests/documentation", "tests/deployment")),
    Tier("frameworks", "frameworks that log to MLflow by themselves", ("tests/frameworks",), ("test", "frameworks")),
    Tier("browser", "MLflow's pages in Chromium", ("tests/browser",), ("test", "browser")),
    Tier("stores", "artifact stores and ways to MLflow's server; Azure's needs azurite-blob (`npm install azurite`)",
         ("tests/stores",), ("test", "stores"), processes=_CORES),
    Tier("hosts", "programs on several hosts, made of namespaces, and SLURM's steps; most need root", ("tests/hosts",),
         ("test", "frameworks", "hosts"), processes=1),  # they share the hosts
    Tier("oldest", "the core tests on the oldest Python, MLflow, ClearML and wrapt", groups=("lint",)),
    Tier("faults", "every fault at every moment: an hour, only if it is named", ("tests/end_to_end/test_faults.py",),
         options=("--all-faults",), is_default=False),
)  # fmt: skip
"""In the order in which they run: a fault shows first where it is cheapest to find."""


class Result(NamedTuple):
    """How a tier ended. Processor time is that of all its processes but those that have detached themselves."""

    tier: str
    passed: bool
    numbers: str
    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        return f"{self.tier:<12} {self.numbers:<32} {self.wall_s:5.0f} s  {self.cpu_s:5.0f} CPU s  {verdict}"


class SetupError(Exception):
    """The virtual environment cannot be made; the text says why."""


def environment(groups: tuple[str, ...], python: str = "", folder: Path | None = None) -> str:
    """Make or reuse a virtual environment that holds this project and dependency groups of its pyproject.toml.

    Args:
        groups: names of dependency groups.
        python: interpreter to make it with, where it is not the one that runs; its environment is one of its own.
        folder: where to make it; `.venv` (or `.venv-3.12` for an interpreter that was named) in the project.

    Returns:
        The path of its interpreter.

    Raises:
        SetupError: the interpreter is too old, or a step failed.
    """
    maker = shutil.which(python) if python else sys.executable
    version = _version(maker) if maker else ""
    if not maker or not version:
        raise SetupError(f"{python or 'this Python'} does not run")
    if tuple(map(int, version.split("."))) < _OLDEST:
        raise SetupError(f"{maker} is Python {version}; 3.10 or newer is needed (--python PATH names another)")
    folder = folder or ROOT / (f".venv-{version}" if python else ".venv")
    interpreter = str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    found = _version(interpreter)
    if not found or (python and found != version) or tuple(map(int, found.split("."))) < _OLDEST:
        _say(f"making a virtual environment in {_shown(folder)} (Python {version})")
        _run([maker, "-m", "venv", "--clear", str(folder)])
        (folder / ".gitignore").write_text("*\n")
    stamp = folder / "autoinstrument-installed.txt"
    wanted = _wanted(groups)
    installed = set(stamp.read_text().split("\n")) if stamp.exists() else set()
    if not set(wanted) <= installed:
        size_gb = sum(_SIZES_GB.get(group, 0.1) for group in groups)
        _say(
            f"installing the project and {' and '.join(groups)} dependencies: about {size_gb:.1f} GB on disk, "
            f"which takes some {3 * size_gb:.0f} minutes if pip must download all of it"
        )
        pip = [interpreter, "-m", "pip", "--disable-pip-version-check", "install"]
        _run_with_progress([*pip, "--upgrade", "pip>=25.1"])  # the first that reads dependency groups
        _run_with_progress([*pip, *(word for group in groups for word in ("--group", group)), "--editable", "."])
        kept = installed if wanted[0] in installed else set()
        stamp.write_text("\n".join(sorted(kept | set(wanted))))
    return interpreter


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


def _wanted(groups: tuple[str, ...]) -> list[str]:
    digest = hashlib.sha256(str(ROOT).encode())
    for name in _SOURCES:
        digest.update((ROOT / name).read_bytes())
    return [f"{digest.hexdigest()} {group}" for group in ("", *groups)]


def _version(python: str) -> str:
    """Return an interpreter's version, as in "3.11", "" where it does not run."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        return subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _run(command: list[str]) -> None:
    if subprocess.run(command, cwd=ROOT, env=environ(), check=False).returncode != 0:
        raise SetupError(f"this failed: {' '.join(command)}")


def _run_with_progress(command: list[str]) -> None:
    """Run pip and show its latest line: in one line of a terminal, or every half minute elsewhere.

    If it fails, all that it wrote is printed.
    """
    began, written = time.monotonic(), ["starting"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environ(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace",
    ) as pip:  # fmt: skip

        def read() -> None:
            for line in pip.stdout or ():
                written.append(line)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        is_terminal = sys.stdout.isatty()
        while True:
            reader.join(1 if is_terminal else _HEARTBEAT_S)
            if not reader.is_alive():  # pip has closed its output
                break
            line = f"   {time.monotonic() - began:.0f} s: {' '.join(written[-1].split())}"
            if is_terminal:
                line = f"\r{line[: shutil.get_terminal_size().columns - 1]}\033[K"
            print(line, end="" if is_terminal else "\n", flush=True)
    if is_terminal:
        print("\r\033[K", end="", flush=True)
    if pip.returncode != 0:
        print("".join(written[1:]), end="", file=sys.stderr)
        raise SetupError(f"this failed: {' '.join(command)}")


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if ROOT in path.parents else str(path)  # is_relative_to is new in 3.9


def _say(text: str) -> None:
    print(f"== {text}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tiers and return 0 if all of them passed.

    The first tier that fails is the last one that runs, unless `--keep-going` is given: later tiers stand on earlier
    ones, and a mistake that one unit test names is hundreds of scripts that run into their limits there.
    """
    names = "\n".join(f"  {tier.name:<13} {tier.holds}" for tier in TIERS)
    parser = argparse.ArgumentParser(
        prog="python3 -m tests",
        usage="%(prog)s [TIER ...] [OPTION ...] [PYTEST ARGUMENT ...]",
        description="Run tiers of the tests, all of them by default. Other arguments are pytest's: with one, lint and "
        "oldest run only if they are named; with paths, the tiers that hold them run.",
        epilog=f"tiers:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--keep-going", action="store_true", help="run all tiers, also behind one that failed")
    parser.add_argument("--python", default="", metavar="PATH", help="run on another Python, in .venv-X.Y")
    parser.add_argument("--venv", type=Path, metavar="FOLDER", help="make the environment there and not in .venv")
    options, pytest_arguments = parser.parse_known_args(arguments)
    tiers, pytest_arguments = select(pytest_arguments)
    if not tiers:
        parser.error("no tier holds these paths")
    groups = tuple(dict.fromkeys(group for tier in tiers for group in tier.groups))
    try:
        python = environment(groups, options.python, options.venv and options.venv.absolute())
    except SetupError as problem:
        print(problem, file=sys.stderr)
        return 1
    results: list[Result] = []
    for tier in tiers:
        with tempfile.TemporaryDirectory(prefix="autoinstrument-tests-") as scratch:
            results.append(_run_tier(tier, python, pytest_arguments, Path(scratch), options.venv))
        _say(str(results[-1]))
        if not (results[-1].passed or options.keep_going):
            break
    skipped = [tier.name for tier in tiers[len(results) :]]
    if len(results) > 1:
        total = Result("all", all(result.passed for result in results), "", *_sums(results))
        _say("\n   ".join(["summary", *map(str, results), str(total)]))
    if skipped:
        _say(f"not run: {', '.join(skipped)} (--keep-going runs them)")
    return 0 if all(result.passed for result in results) else 1


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
        narrowed = [tier._replace(folders=tuple(path for path in paths if _holds(tier, path))) for tier in tiers]
        tiers = [tier for tier in narrowed if tier.folders]
    return tiers, rest


def _holds(tier: Tier, path: str) -> bool:
    file = Path(os.path.normpath(path.partition("::")[0]))
    return any(Path(folder) in (file, *file.parents) for folder in tier.folders)


def _run_tier(tier: Tier, python: str, arguments: list[str], scratch: Path, venv: Path | None) -> Result:
    report = scratch / "report.xml"
    pytest = ["-n", str(tier.processes), f"--junitxml={report}"]
    if tier.name == "lint":
        commands = [
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
        commands = [["pytest", *tier.folders, *pytest, "--dist", "worksteal", *tier.options, *arguments]]
    began, used = time.monotonic(), _children_s()
    codes = []
    for command in commands:
        _say(f"{tier.name}: {' '.join(command)}")
        codes.append(subprocess.run([python, "-m", *command], cwd=ROOT, env=environ(), check=False).returncode)
    fine = {0, _NOTHING_SELECTED} if arguments else {0}
    count = _count(report) if tier.name != "lint" else f"{len(commands)} checks"
    return Result(tier.name, fine.issuperset(codes), count, time.monotonic() - began, _children_s() - used)


def _children_s() -> float:
    """Return the processor time in seconds of all processes that have been waited for; 0 on Windows."""
    times = os.times()
    return times.children_user + times.children_system


def _count(report: Path) -> str:
    """Return the numbers in a JUnit report, as in "12 tests, 1 failed"."""
    if not report.exists():
        return "no tests"
    suite = ElementTree.parse(report).getroot().find("testsuite")
    found = {} if suite is None else suite.attrib
    names = {"failures": "failed", "errors": "errors", "skipped": "skipped"}
    others = [f"{found[name]} {word}" for name, word in names.items() if found.get(name, "0") != "0"]
    return ", ".join([f"{int(found.get('tests', '0')):,} tests", *others])


def _sums(results: Sequence[Result]) -> tuple[float, float]:
    return sum(result.wall_s for result in results), sum(result.cpu_s for result in results)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
