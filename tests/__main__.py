"""`python3 -m tests [PYTEST ARGUMENT ...]`: make the environment that the tests need, then lint, type-check and test.

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
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_OLDEST = (3, 10)
# Most tests wait for processes and servers, not for a core.
_PROCESSES = 2 * (os.cpu_count() or 1)
# What an environment takes on disk by dependency group, without CUDA, which pip adds to torch where it can.
_SIZES_GB = {"test": 1.0, "frameworks": 1.9}
_HEARTBEAT_S = 30
# What an installation is made from; a change to the code itself needs no new one, because it is editable.
_SOURCES = ("pyproject.toml", "autoinstrument/startup/autoinstrument-init.pth", "autoinstrument/_version.py")


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
    """Return this process's variables without those that would lead an interpreter away from its environment."""
    strays = ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__", "AUTOINSTRUMENT_ENABLED")
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


def main() -> int:
    """Run the checks and return 0 if all of them passed; a check that fails does not keep the others from running."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tests", description="Run ruff, mypy, mkdocs and pytest. Other arguments are pytest's."
    )
    parser.add_argument("--no-lint", action="store_true", help="run pytest alone, on this Python")
    parser.add_argument("--python", default="", metavar="PATH", help="run on another Python, in .venv-X.Y")
    parser.add_argument("--venv", type=Path, metavar="FOLDER", help="make the environment there and not in .venv")
    options, pytest_arguments = parser.parse_known_args()
    groups = ("test", "frameworks", "browser", *(() if options.no_lint else ("lint", "docs")))
    try:
        python = environment(groups, options.python, options.venv and options.venv.absolute())
    except SetupError as problem:
        print(problem, file=sys.stderr)
        return 1
    site = tempfile.mkdtemp(prefix="autoinstrument-site-")
    checks = [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        *(["mypy", "--platform", platform] for platform in ("linux", "darwin", "win32")),
        ["mkdocs", "build", "--strict", "--site-dir", site],
        ["pytest", "-n", str(_PROCESSES), "--dist", "worksteal", *pytest_arguments],  # a later -n has the last word
    ]
    failed = []
    if not pytest_arguments:  # the other corner of what is supported; the suite above is the newest of everything
        environments = options.venv.absolute() / "nox" if options.venv else ROOT / ".nox"
        checks.append(["nox", "--session", "oldest", "--envdir", str(environments), "--", "-n", str(_PROCESSES)])
    for check in [check for check in checks if check[0] == "pytest"] if options.no_lint else checks:
        _say(" ".join(check))
        began = time.monotonic()
        code = subprocess.run([python, "-m", *check], cwd=ROOT, env=environ(), check=False).returncode
        print(f"   {time.monotonic() - began:.0f} s, exit code {code}", flush=True)
        if code != 0:
            failed.append(check[0])
    shutil.rmtree(site, ignore_errors=True)
    _say(f"failed: {', '.join(failed)}" if failed else "all passed")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
