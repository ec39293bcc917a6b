"""Virtual environments with a Task's packages, made by the real uv and pip without an index."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from autoinstrument.capture.requirements import packages_of
from autoinstrument.capture.script_section import script_of
from autoinstrument.records import ProcessStarted
from autoinstrument.reproduction import environment
from autoinstrument.reproduction.code_folder import make_code
from autoinstrument.reproduction.environment import InstallError, make_environment, python_of, requirements_here
from autoinstrument.reproduction.recipe import Recipe, recipe_of
from tests.unit.repositories import Repository
from tests.unit.repositories import git_settings as git_settings
from tests.unit.repositories import process as process
from tests.unit.repositories import repository as repository

pytestmark = pytest.mark.interpreter

VERSION = "{}.{}".format(*sys.version_info[:2])
BACKEND = """
import zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(f"{folder}/own-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in FILES.items():
            wheel.writestr(name, text)
    return "own-1.0-py3-none-any.whl"

def build_editable(folder, config_settings=None, metadata_directory=None):
    import os
    FILES["own.pth"] = os.path.abspath("src")
    return build_wheel(folder)

INFO = "own-1.0.dist-info/"
FILES = {
    INFO + "METADATA": "Metadata-Version: 2.1\\nName: own\\nVersion: 1.0\\n",
    INFO + "WHEEL": "Wheel-Version: 1.0\\nGenerator: tests\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    INFO + "RECORD": "",
}
"""
"""A build backend that needs no package: pip makes an editable installation with it, without an index."""


def recipe(requirements: str, python: str = VERSION, **fields: str) -> Recipe:
    script = {"entry_point": "train.py", "requirements": {"pip": requirements}, "binary": f"python{python}", **fields}
    return recipe_of({"script": script})


@pytest.fixture(autouse=True)
def no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both installers find `plain` 1.0 in a folder, and nothing else."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "plain-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("plain.py", "NAME = 'plain'\n")
        wheel.writestr("plain-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: plain\nVersion: 1.0\n")
        wheel.writestr("plain-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("plain-1.0.dist-info/RECORD", "")
    for tool in ("PIP", "UV"):
        monkeypatch.setenv(f"{tool}_NO_INDEX", "1")
        monkeypatch.setenv(f"{tool}_FIND_LINKS", str(wheels))
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))


@pytest.fixture
def without_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_uv", lambda: [])


def printed(folder: Path, code: str) -> str:
    return subprocess.run([python_of(folder), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_by_uv(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert make_environment(recipe("plain==1.0"), tmp_path, "plain==1.0\n") == []
    assert printed(tmp_path, "import plain; print(plain.NAME)") == "plain"
    assert "uv" in (tmp_path / ".venv/pyvenv.cfg").read_text()
    assert capfd.readouterr().out == ""  # stdout is the program's


@pytest.mark.usefixtures("without_uv")
def test_by_pip(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert make_environment(recipe("plain==1.0"), tmp_path, "plain==1.0\n") == []
    assert printed(tmp_path, "import plain; print(plain.NAME)") == "plain"
    assert capfd.readouterr().out == ""


def test_pip_has_settings_that_uv_has_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index of a company is often configured for pip alone."""
    monkeypatch.delenv("UV_FIND_LINKS")
    (note,) = make_environment(recipe("plain==1.0"), tmp_path, "plain==1.0\n")
    assert note.startswith("uv did not install the packages")
    assert printed(tmp_path, "import plain; print(plain.NAME)") == "plain"


@pytest.mark.usefixtures("without_uv")
def test_packages_that_cannot_be_installed(tmp_path: Path) -> None:
    """The environment stays, and the message has the command that a person can repeat."""
    with pytest.raises(
        InstallError, match=r"change .*requirements\.txt, and run there: .*-m pip install .*-r requirem"
    ):
        make_environment(recipe("gone==1.0"), tmp_path, "gone==1.0\n")
    assert python_of(tmp_path).exists()


def test_a_python_that_is_not_installed(tmp_path: Path) -> None:
    (note,) = make_environment(recipe("", "3.7"), tmp_path, "# Python 3.7.1\n")
    assert note.startswith("there is no Python 3.7 here: the environment has 3.")


@pytest.mark.parametrize("address", ["/srv/own.git", "git@host:team/own.git", "https://host/own.git"])
def test_packages_of_the_tasks_own_repository(address: str) -> None:
    """They come from the code that was just made, which has the uncommitted changes."""
    url = {"/": "file:///srv/own.git", "g": "ssh://git@host/team/own.git", "h": address}[address[0]]
    commit = "c0ffee"
    lines = (
        f"# a comment\na==1\nown @ git+{url}@{commit}#subdirectory=lib\nroot @ git+{url}@{commit}\nb @ git+{url}@beef\n"
    )
    asked = recipe(lines, repository=address, version_num=commit)
    assert requirements_here(asked, "code").splitlines() == [
        "# a comment", "a==1", "-e ./code/lib", "-e ./code", f"b @ git+{url}@beef",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("origin", "line"),
    [
        (None, "autoinstrument==0.0.1"),
        ({"url": "file:///nowhere/x.whl", "archive_info": {}}, "autoinstrument==0.0.1"),
        ({"url": "file://{here}", "dir_info": {"editable": True}}, "autoinstrument @ file://{here}"),
        ({"url": "https://h/x.git", "vcs_info": {"vcs": "git", "commit_id": "c0"}}, "autoinstrument @ git+https://h/x.git@c0"),
    ],
)  # fmt: skip
def test_this_package_comes_from_where_it_is_installed_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: dict[str, object] | None, line: str
) -> None:
    class Distribution:
        def read_text(self, name: str) -> str | None:
            return json.dumps(origin).replace("{here}", str(tmp_path)) if origin and name == "direct_url.json" else None

    monkeypatch.setattr(metadata, "distribution", lambda name: Distribution())
    assert requirements_here(recipe("autoinstrument==0.0.1"), "code").strip() == line.replace("{here}", str(tmp_path))


def test_an_editable_installation(repository: Repository, process: ProcessStarted, tmp_path: Path) -> None:
    """From its capture to an environment that has it, with the uncommitted changes."""
    repository.write(
        "lib/pyproject.toml", '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    repository.write("lib/backend.py", BACKEND)
    repository.write("lib/src/own.py", "NAME = 'committed'\n")
    repository.write("train.py", "import own, plain\nprint(own.NAME, plain.NAME)\n")
    repository.commit()
    repository.push()
    repository.write("lib/src/own.py", "NAME = 'changed'\n")
    before = tmp_path / "before"
    before.mkdir()
    make_environment(recipe(""), before, f"plain\n-e {repository.root}/lib\n")
    site = printed(before, "import plain; print(plain.__file__)").removesuffix("/plain.py")
    described = process._replace(
        main_kind="script", main_path=str(repository.root / "train.py"), cwd=str(repository.root), sys_path=[site]
    )  # fmt: skip
    pip = packages_of(["own", "plain"], [site]).requirements
    pip = "".join(f"{line}\n" for line in pip.splitlines() if not line.startswith("autoinstrument"))
    captured = recipe_of({"script": {**script_of(described)._asdict(), "requirements": {"pip": pip}}})

    repository.git("checkout", "-q", ".")
    after = tmp_path / "after"
    after.mkdir()
    make_code(captured, after / "code")
    make_environment(captured, after, requirements_here(captured, "code"))
    done = subprocess.run([python_of(after), after / "code/train.py"], capture_output=True, text=True, check=False)
    assert done.stdout == "changed plain\n", done.stderr
