from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.startup.environment import ROOT, Environment, find_interpreter

WHOLE_END = "TESTS_WHOLE_END"
"""A variable with which a script ends as it would anywhere else."""
# Of the 2.6 s of CPU time of a script that logs one metric, the collector takes one, most of it at the interpreter's
# end, where it goes through all that MLflow has loaded; and the tests run a thousand of them.
_RARE_COLLECTIONS = (
    "import atexit, gc, os; gc.set_threshold(100_000, 50, 100); "
    f"'{WHOLE_END}' in os.environ or atexit.register(gc.freeze)\n"
)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background job; scripts would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-faults",
        action="store_true",
        help="the whole table of faults, and 50 kills of each kind, instead of some of them (an hour)",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that take longest, so that nothing waits for them in the end."""
    items.sort(key=lambda item: not (item.get_closest_marker("slow") or item.get_closest_marker("timeout")))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that this checkout builds."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def new_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Environment]:
    """Makes empty virtual environments, for the Python of a version ("3.13") or the one that runs the tests ("")."""

    def new(version: str = "") -> Environment:
        interpreter = find_interpreter(version) if version else sys.executable
        if not interpreter:
            pytest.skip(f"no Python {version} on this machine that runs")
        return Environment(tmp_path_factory.mktemp("environment") / "venv", interpreter)

    return new


@pytest.fixture(scope="session")
def full_environment(new_environment: Callable[[str], Environment], wheel: Path) -> Environment:
    """The wheel in an environment that also has MLflow, and whatever else the tests' own environment holds."""
    # Other folders' .pth files are not read, so an editable installation in the tests' environment stays out of it.
    others = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    environment = new_environment("").install(wheel).add_to_path(*others)
    (environment.site_packages / "rare-collections.pth").write_text(_RARE_COLLECTIONS)
    found = environment.run("-Ic", "import autoinstrument; print(autoinstrument.__file__)").stdout.strip()
    assert Path(found).is_relative_to(environment.folder)
    return environment
