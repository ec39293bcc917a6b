"""A script of several files is read back without running it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from autoinstrument.capture.bundle import bundle, unpacked
from autoinstrument.capture.code import Code
from autoinstrument.capture.imports import imported_by
from autoinstrument.records import ProcessStarted
from tests.unit.repositories import process as process

TEXTS = {
    "plain.py": "a = 1\n", "empty.py": "", "both.py": "a = \"\"\"x\"\"\"\nb = '''y'''\n", "sub/end.py": "a = 'x'",
    "zero.py": "a = '\0'\n", "back.py": "a = \"\\\\n\"\n# \\",
}  # fmt: skip


def test_all_texts_come_back(process: ProcessStarted, tmp_path) -> None:
    script = bundle(Code(tmp_path, text="print()\n", name="command.py"), process._replace(cwd=str(tmp_path)), TEXTS)
    found = unpacked(script)
    assert found is not None
    assert found.files == {"command.py": "print()\n", **TEXTS}
    assert (found.module, found.main) == ("", "command.py")


def test_a_module(process: ProcessStarted, tmp_path) -> None:
    script = bundle(Code(tmp_path, module="installed.train"), process._replace(cwd=str(tmp_path)), TEXTS)
    found = unpacked(script)
    assert found is not None
    assert (found.module, found.main, found.roots) == ("installed.train", "", found.roots)
    for changed in (
        script[:-30],
        script.replace("FILES = {}", "FILES = dict()"),
        script.replace("[1:]", "[1:] + x", 1),
    ):
        unpacked(changed)  # a person has edited it: no error


@pytest.mark.parametrize("text", ["", "print()\n", "\nFILES = {}\n", "\nFILES = {}\n)(", "\nFILES = {}\n" + "(" * 5000])
def test_another_script_is_not_a_bundle(text: str) -> None:
    assert unpacked(text) is None


@pytest.fixture
def zipped(process: ProcessStarted, tmp_path: Path) -> ProcessStarted:
    """A process that runs an archive with a package."""
    archive = tmp_path / "app.pyz"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("__main__.py", "import package.module\n")
        opened.writestr("package/__init__.py", "")
        opened.writestr("package/module.py", "import numpy.linalg as l\nprint('module')\n")
    package = archive / "package"
    files = {"package": str(package / "__init__.py"), "package.module": str(package / "module.py")}
    main = {"main_kind": "script", "main_path": str(archive), "main_module": "", "source": "", "callers": ()}
    return process._replace(**main, files=files, cwd=str(tmp_path), sys_path=[str(archive)])


def test_the_modules_of_an_archive(zipped: ProcessStarted, tmp_path: Path) -> None:
    """Without them, a clone of the Task would find no package to import."""
    script = bundle(Code(tmp_path, tmp_path / "app.pyz"), zipped)
    found = unpacked(script)
    assert found is not None
    assert found.main == "app.pyz/__main__.py"
    assert found.files.keys() == {"app.pyz/__main__.py", "app.pyz/package/__init__.py", "app.pyz/package/module.py"}
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone" / "app.py").write_text(script.replace("import numpy.linalg as l", ""))
    done = subprocess.run([sys.executable, tmp_path / "clone" / "app.py"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "module\n"), done.stderr


def test_the_imports_of_an_archive(zipped: ProcessStarted) -> None:
    assert {"package.module", "numpy.linalg"} <= imported_by(zipped)


def test_an_archive_with_installed_packages(zipped: ProcessStarted, tmp_path: Path) -> None:
    """They are requirements, and not the user's own code."""
    with zipfile.ZipFile(tmp_path / "app.pyz", "a") as opened:
        opened.writestr("package-1.dist-info/METADATA", "")
    assert bundle(Code(tmp_path, tmp_path / "app.pyz"), zipped) == ""
