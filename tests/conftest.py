from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autoinstrument import guard
from autoinstrument.bootstrap.explain_log import note as write_note
from tests import forked_workers
from tests.end_to_end import fork_server
from tests.end_to_end.sdk_configuration import make_logins_cheap
from tests.problems import PROBLEMS, unexpected
from tests.shared import Shared, resources
from tests.startup.environment import ROOT, Environment, find_interpreter

WHOLE_END = "TESTS_WHOLE_END"
"""A variable with which a script ends as it would anywhere else."""
# Of the 2.6 s of CPU time of a script that logs one metric, the collector takes one, most of it at the interpreter's
# end, where it goes through all that MLflow has loaded; and the tests run a thousand of them.
_RARE_COLLECTIONS = (
    "import atexit, gc, os; gc.set_threshold(100_000, 50, 100); "
    f"'{WHOLE_END}' in os.environ or atexit.register(gc.freeze)\n"
)

_FOUND, _LEFT = pytest.StashKey[set[str]](), pytest.StashKey[set[str]]()
"""What lay in the checkout before the tests, and what they have left there."""

gc.set_threshold(200_000)  # until all is imported: `pytest_collection_finish`
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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    """Have the processes that run tests forked, see `forked_workers.py`."""
    if len(specs) > 1 and sys.platform == "linux" and all(spec.popen and not spec.python for spec in specs):
        stack = contextlib.ExitStack()
        config.add_cleanup(stack.close)
        python = stack.enter_context(forked_workers.server())
        specs[:] = [type(spec)(f"popen//id={spec.id}//execmodel=main_thread_only//python={python}") for spec in specs]


def pytest_configure(config: pytest.Config) -> None:
    stack = contextlib.ExitStack()
    config.add_cleanup(stack.close)
    stack.enter_context(resources())


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[_FOUND] = _in_checkout()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail if the tests have left something in the checkout, as MLflow does in the folder where a process works."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    if left := _in_checkout() - session.config.stash[_FOUND]:
        session.config.stash[_LEFT] = left
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left := config.stash.get(_LEFT, None):
        terminalreporter.section("left in the checkout", red=True)
        terminalreporter.write_line(f"While the tests ran, this appeared: {', '.join(sorted(left))}")


def _in_checkout() -> set[str]:
    """Return what lies at the checkout's top, without caches of tools."""
    return {entry.name for entry in ROOT.iterdir() if not entry.name.startswith(".")}


def pytest_collection_finish() -> None:
    """Let the collector skip the modules that are loaded by now, and begin less often: this saves much CPU time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


@pytest.fixture(scope="session", autouse=True)
def working_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run the tests in a temporary folder: MLflow stores runs and files below the working folder by default."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("working-folder"))
        yield


@pytest.fixture(autouse=True)
def no_problems(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test in which the agent reports a problem that no marker of the test names; see `tests/problems.py`.

    `swallows` names errors that guards of this process swallow, and fails a test without them. `may_report` names those
    of scripts, and lines in log files: whether these appear may depend on the moment.
    """
    PROBLEMS.begin()

    def note(step: str, detail: object = "") -> None:
        if step == "error":
            PROBLEMS.swallowed.append(str(detail))
        write_note(step, detail)

    monkeypatch.setattr(guard, "note", note)
    yield
    for value in request.node.funcargs.values():  # places that are older than the test
        home = getattr(getattr(value, "place", value), "home", None)
        if isinstance(home, Path):
            PROBLEMS.watch(home)
    swallows, may_report = (
        [pattern for marker in request.node.iter_markers(name) for pattern in marker.args]
        for name in ("swallows", "may_report")
    )
    found = unexpected(PROBLEMS.swallowed, swallows) + unexpected(PROBLEMS.reported(), may_report)
    assert not found, "the agent reported:\n" + "\n".join(found)
    missing = [pattern for pattern in swallows if unexpected(PROBLEMS.swallowed, [pattern]) == PROBLEMS.swallowed]
    assert not missing, f"no guard swallowed {missing}"


@pytest.fixture(autouse=True)
def cheap_logins() -> None:
    """Parse clearml's configuration once, and not again at each login: the tests log in a thousand times.

    Nothing is imported for it: the first test that needs clearml loads it.
    """
    make_logins_cheap()


@pytest.fixture(scope="session")
def shared() -> Shared:
    """What all processes that run tests in this environment share."""
    return Shared()


@pytest.fixture(scope="session")
def wheel(shared: Shared) -> Path:
    """The wheel that this checkout builds."""

    def build(folder: Path) -> None:
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

    (built,) = shared.folder("wheel", build).glob("*.whl")
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
def full_environment(tmp_path_factory: pytest.TempPathFactory, shared: Shared, wheel: Path) -> Environment:
    """The wheel in an environment that also has MLflow, and whatever else the tests' own environment holds.

    All processes share it: a test that puts something into it uses `own_environment`.
    """
    folder = shared.folder("environment", lambda folder: _full(folder / "venv", wheel))
    return Environment.found(folder / "venv", tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def own_environment(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Environment:
    """The same as `full_environment`, for tests that change it and change it back."""
    return _full(tmp_path_factory.mktemp("environment") / "venv", wheel)


def _full(folder: Path, wheel: Path) -> Environment:
    # Other folders' .pth files are not read, so an editable installation in the tests' environment stays out of it.
    others = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    environment = Environment(folder).install(wheel).add_to_path(*others)
    (environment.site_packages / "rare-collections.pth").write_text(_RARE_COLLECTIONS)
    fork_server.install(environment)
    found = environment.run("-Ic", "import autoinstrument; print(autoinstrument.__file__)").stdout.strip()
    assert Path(found).is_relative_to(environment.folder)
    return environment
