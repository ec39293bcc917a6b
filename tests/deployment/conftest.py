from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.conftest import database, fork_server, new_place, server
from tests.end_to_end.harness import Place
from tests.startup.environment import ROOT, Environment

__all__ = ["database", "fork_server", "new_place", "server"]  # fixtures


@pytest.fixture
def place(server: ClearMLServer, new_place: Callable[[ClearMLServer | None], Place]) -> Place:
    """A place where nothing is forked, and whose scripts wait for the delivery long enough for a busy machine."""
    place = new_place(server)
    place.fork_server = None
    place.environ["AUTOINSTRUMENT_EXIT_TIMEOUT"] = "120"
    return place


@pytest.fixture(scope="session")
def hook(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """The content of an init container or image layer: a folder with the package, and a `sitecustomize` at its top."""
    folder = tmp_path_factory.mktemp("hook")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "install", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(folder), str(wheel)], check=True)
    shutil.copy(ROOT / "sitecustomize_template" / "sitecustomize.py", folder)
    return folder


@pytest.fixture(scope="session")
def foreign_environment(new_environment: Callable[[str], Environment]) -> Environment:
    """An environment that has MLflow, and nothing of this project; all else of the tests' own environment is there."""
    others = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    environment = new_environment("").add_to_path(*others)
    # An editable installation leaves a folder of that name, with data that the wheel has at another place.
    code = "import importlib.util as util; print(getattr(util.find_spec('autoinstrument'), 'loader', None))"
    assert environment.run("-Ic", code).stdout == "None\n"
    return environment
