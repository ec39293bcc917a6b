"""The files of the wheel at the top of site-packages."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.startup.environment import ROOT

START_UP_FILES = {"autoinstrument-init.pth", "autoinstrument-init.start"}


@pytest.fixture(scope="session")
def editable(tmp_path_factory, new_environment):
    """The project in editable mode, as `pip install --editable` builds and installs it (PEP 660)."""
    folder = tmp_path_factory.mktemp("editable")
    code = "import sys; from hatchling.build import build_editable; build_editable(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, folder], cwd=ROOT, check=True)
    (built,) = folder.glob("*.whl")
    return new_environment("").install(built)


def test_both_start_up_files_stand_at_the_top(light):
    assert {path.name for path in light.site_packages.iterdir()} >= START_UP_FILES


def test_both_stand_there_in_an_editable_install(editable):
    assert {path.name for path in editable.site_packages.iterdir()} >= START_UP_FILES
    code = "import sys; m = sys.modules['autoinstrument']; print(m.__file__, type(sys.meta_path[0]).__name__)"
    assert editable.run("-c", code, env={"AUTOINSTRUMENT_ENABLED": "1"}).stdout.split() == [
        str(ROOT / "autoinstrument" / "__init__.py"), "AfterImport",
    ]  # fmt: skip


def test_uninstalling_takes_both_away(wheel):
    """pip removes what RECORD lists."""
    with zipfile.ZipFile(wheel) as archive:
        (record,) = (name for name in archive.namelist() if name.endswith(".dist-info/RECORD"))
        listed = {line.split(",")[0] for line in archive.read(record).decode().splitlines()}
    assert listed >= START_UP_FILES


def test_nothing_else_is_put_at_the_top(wheel):
    with zipfile.ZipFile(wheel) as archive:
        top = {name.split("/")[0] for name in archive.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"autoinstrument", *START_UP_FILES}


def test_a_second_build_has_the_same_bytes(wheel, tmp_path):
    """In another folder, with other times and modes: whoever has the sources can check a released file."""
    sources = tmp_path / "elsewhere"
    for name in ("autoinstrument", "sitecustomize_template"):
        shutil.copytree(ROOT / name, sources / name, copy_function=shutil.copyfile)
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copyfile(ROOT / name, sources / name)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(command, cwd=sources, check=True, umask=0o077)
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


def test_the_pth_file_is_a_comment_and_one_line_that_can_be_read(light):
    """Security reviewers look at every .pth file: ASCII, no encoding, no path, two lines of a wide screen at most."""
    comment, line = (light.site_packages / "autoinstrument-init.pth").read_bytes().decode("ascii").splitlines()
    assert comment.startswith("# ")
    assert line.startswith("import os; ")
    assert len(line) <= 240
    assert "autoinstrument.init()" in line


def test_the_start_file_is_one_entry_point(light):
    """PEP 829: UTF-8, one `package.module:callable` a line, nothing like extras; a matching .pth's code is skipped."""
    (line,) = (light.site_packages / "autoinstrument-init.start").read_text("utf-8").splitlines()
    assert re.fullmatch(r"(?!\d)[\w.]+:(?!\d)[\w.]+", line)
    code = f"import pkgutil; pkgutil.resolve_name({line!r})(); import sys; print(type(sys.meta_path[0]).__name__)"
    on = {"AUTOINSTRUMENT_ENABLED": "1"}
    code = f"import sys; sys.path.append({str(light.site_packages)!r}); {code}"
    assert light.run("-S", "-c", code, env=on).stdout == "AfterImport\n"
