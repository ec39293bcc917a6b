"""`install` and `uninstall`: this environment, another one, a folder for PYTHONPATH; nothing is left behind."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from autoinstrument.cli.hook_files import START_UP
from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place
from tests.startup.environment import ROOT, Environment

ARMED = "import sys; print(any(type(finder).__name__ == 'AfterImport' for finder in sys.meta_path))"


@pytest.fixture
def bare(new_place: Callable[[ClearMLServer | None], Place]) -> Place:
    return new_place(None)


@pytest.fixture(scope="module")
def other(new_environment: Callable[[str], Environment], wheel: Path) -> Environment:
    """Another environment, with the package and without its start-up files."""
    environment = new_environment("").install(wheel)
    for name in START_UP:
        (environment.site_packages / name).unlink()
    return environment


def is_armed(environment: Environment, **env: str) -> bool:
    return environment.run("-c", ARMED, env={"AUTOINSTRUMENT_ENABLED": "1", **env}).stdout == "True\n"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_files_are_those_that_the_wheel_has() -> None:
    for name, content in START_UP.items():
        assert (ROOT / "autoinstrument" / "startup" / name).read_bytes() == content


@pytest.mark.parametrize("by", ["interpreter", "environment", "site-packages"])
def test_into_another_environment_and_out_again(bare: Place, other: Environment, by: str) -> None:
    target = {"interpreter": other.python, "environment": other.folder, "site-packages": other.site_packages}[by]
    before = names(other.site_packages)
    assert not is_armed(other)
    done = bare.command("install", "--target", str(target))
    assert (done.code, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert is_armed(other)
    assert names(other.site_packages) - before == {*START_UP, "autoinstrument-hook.json"}
    again = bare.command("install", "--target", str(target))
    assert again.code == 0
    assert again.stdout.count("in place already") == 2
    assert bare.command("uninstall", "--target", str(target)).code == 0
    assert names(other.site_packages) == before
    assert not is_armed(other)
    assert "nothing to remove" in bare.command("uninstall", "--target", str(target)).stdout


def test_a_folder_for_pythonpath(bare: Place, other: Environment, tmp_path: Path) -> None:
    done = bare.command("install", "--target", str(tmp_path))
    assert done.code == 0
    assert f"PYTHONPATH={tmp_path}" in done.stdout
    assert "pip install --target" in done.stderr
    assert is_armed(other, PYTHONPATH=str(tmp_path))
    assert bare.command("uninstall", "--target", str(tmp_path)).code == 0
    assert list(tmp_path.iterdir()) == []


def test_sitecustomize_leaves_no_bytecode_behind(bare: Place, other: Environment) -> None:
    before = names(other.site_packages)
    assert bare.command("install", "--sitecustomize", "--target", str(other.folder)).code == 0
    assert is_armed(other)
    assert bare.command("uninstall", "--target", str(other.folder)).code == 0
    assert names(other.site_packages) == before


def test_a_file_of_another_tool_is_not_touched(bare: Place, tmp_path: Path) -> None:
    other_file = tmp_path / "sitecustomize.py"
    other_file.write_text("other = True\n")
    done = bare.command("install", "--target", str(tmp_path))
    assert done.code == 1
    (line,) = done.stderr.splitlines()
    assert str(other_file) in line
    assert bare.command("uninstall", "--target", str(tmp_path)).code == 0
    assert other_file.read_text() == "other = True\n"
    assert names(tmp_path) == {"sitecustomize.py"}


def test_a_file_that_was_changed_stays(bare: Place, tmp_path: Path) -> None:
    bare.command("install", "--target", str(tmp_path))
    with (tmp_path / "sitecustomize.py").open("a") as file:
        file.write("mine = True\n")
    done = bare.command("uninstall", "--target", str(tmp_path))
    assert done.code == 1
    assert "was changed" in done.stderr
    assert names(tmp_path) == {"sitecustomize.py", "autoinstrument-hook.json"}


def test_a_file_of_an_older_release_is_replaced(bare: Place, tmp_path: Path) -> None:
    """The manifest knows it."""
    import hashlib

    (tmp_path / "sitecustomize.py").write_text("older = True\n")
    files = {"sitecustomize.py": hashlib.sha256(b"older = True\n").hexdigest()}
    (tmp_path / "autoinstrument-hook.json").write_text(json.dumps({"files": files}))
    assert bare.command("install", "--target", str(tmp_path)).code == 0
    assert "_run_next" in (tmp_path / "sitecustomize.py").read_text()


def test_a_manifest_names_no_other_files(bare: Place, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "valuable").write_text("")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    manifest = tmp_path / "folder" / "autoinstrument-hook.json"
    manifest.write_text(json.dumps({"files": {"../valuable": empty}}))
    assert bare.command("uninstall", "--target", str(manifest.parent)).code == 0
    assert (tmp_path / "valuable").exists()
    manifest.write_text("[" * 100_000)
    done = bare.command("uninstall", "--target", str(manifest.parent))
    assert (done.code, len(done.stderr.splitlines())) == (1, 1)


def test_a_missing_folder_and_a_read_only_one(bare: Place, tmp_path: Path) -> None:
    for folder in (tmp_path / "nowhere", Path("/proc/self")):
        done = bare.command("install", "--target", str(folder))
        assert done.code == 1
        (line,) = done.stderr.splitlines()
        assert str(folder) in line


def test_out_of_this_environment_and_in_again(full_environment: Environment, tmp_path: Path) -> None:
    """The files that pip has installed: removed, which leaves the mode without start-up files, and written again."""
    mine = full_environment.copy(tmp_path / "venv")

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return mine.run("-m", "autoinstrument", *words, env={"AUTOINSTRUMENT_HOME": str(tmp_path / "home")})

    assert is_armed(mine)
    command("uninstall")
    assert not is_armed(mine)
    assert not any((mine.site_packages / name).exists() for name in START_UP)
    command("install")
    assert is_armed(mine)


def test_purge_asks_and_removes_only_files_of_this_package(bare: Place, tmp_path: Path) -> None:
    bare.run("import mlflow\nwith mlflow.start_run(): pass")
    assert bare.journals()
    assert bare.command("uninstall", "--target", str(tmp_path), "--purge", AUTOINSTRUMENT_HOME=str(bare.home)).code == 2
    assert bare.journals()
    (bare.home / "mine.txt").write_text("mine")
    done = bare.command("uninstall", "--target", str(tmp_path), "--purge", "--yes", AUTOINSTRUMENT_HOME=str(bare.home))
    assert done.code == 0
    assert os.listdir(bare.home) == ["mine.txt"]  # noqa: PTH208
    (bare.home / "mine.txt").unlink()
    bare.command("uninstall", "--target", str(tmp_path), "--purge", "--yes", AUTOINSTRUMENT_HOME=str(bare.home))
    assert not bare.home.exists()
