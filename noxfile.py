"""`nox`: the core tests on other versions of Python, MLflow, ClearML and wrapt; `nox -l` lists them.

The environments hold what the core tests need and no frameworks. A Python that is not there is skipped. `.ci/run` runs
the session `oldest`; the newest releases are what the whole suite runs on.
"""

from __future__ import annotations

import os
from pathlib import Path

import nox

from tests.startup.environment import find_interpreter

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.error_on_external_run = False

PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14", "3.15"]
# Where pyenv keeps them; its shims are on PATH for versions that do not run, too.
_FOLDERS = [str(Path(found).parent) for found in map(find_interpreter, PYTHONS) if found]
os.environ["PATH"] = os.pathsep.join([*_FOLDERS, os.environ.get("PATH", "")])

OLD_SQL = "sqlalchemy<2.1"
"""MLflow 2.16 to 3.1 allows for SQLAlchemy 2.1, and cannot be imported with it."""
OLDEST = ("mlflow==2.16.0", OLD_SQL, "clearml==1.16.0", "wrapt==1.15.0")
NEWEST = ("mlflow>=3,<4", "clearml>=2,<3", "wrapt>=2,<3")
RELEASES = {
    "mlflow 2.16": ("mlflow==2.16.*", OLD_SQL),
    "mlflow 2.22": ("mlflow==2.22.*", OLD_SQL),
    "mlflow 3.1": ("mlflow==3.1.*", OLD_SQL),
    "mlflow-skinny": ("mlflow-skinny>=3,<4",),
    "clearml 1.16": ("clearml==1.16.*",),
    "wrapt 1.15": ("wrapt==1.15.*",),
}
"""Each with the newest of all else, on a Python that has wheels of all of them."""


@nox.session(python=PYTHONS)
def pythons(session: nox.Session) -> None:
    """The newest releases on each Python."""
    _core(session, *NEWEST)


@nox.session(python="3.11")
@nox.parametrize("release", list(RELEASES))
def releases(session: nox.Session, release: str) -> None:
    """One older release at a time."""
    chosen = RELEASES[release]
    name = release.partition(" ")[0].removesuffix("-skinny")
    _core(session, *chosen, *(newest for newest in NEWEST if not newest.startswith(name)))


@nox.session(python="3.10")
def oldest(session: nox.Session) -> None:
    """The oldest Python with the oldest releases of everything."""
    _core(session, *OLDEST)


def _core(session: nox.Session, *requirements: str) -> None:
    # The tests install the wheel themselves: here are its dependencies and theirs.
    session.install("pip>=25.1")  # the first that reads dependency groups
    session.install("--group", "core", *requirements)
    session.run("python", "-m", "pytest", "-m", "core", "tests/end_to_end", *session.posargs)
