"""Python files in zip archives are found under the paths that `zipimport` gives them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from autoinstrument.capture.archives import ERRORS, archive_of, has_installed, is_archive, read_member
from autoinstrument.capture.code import is_source, read


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as opened:
        opened.writestr("package/module.py", "text")
    return tmp_path / "app.pyz"


def test_a_file_in_an_archive(archive: Path) -> None:
    inside, outside = archive / "package" / "module.py", archive.parent / "module.py"
    assert archive_of(inside) == archive
    assert archive_of(outside) is None
    assert (is_archive(archive), is_archive(inside), is_archive(archive.parent)) == (True, False, False)
    assert (is_source(inside), is_source(outside), is_source(archive)) == (True, False, False)
    assert read(inside) == "text"
    assert read_member(archive, "package/module.py", 2) == "te"
    assert "none.py could not be read" in read(archive / "none.py")
    with pytest.raises(ERRORS):
        read_member(archive, "none.py", 2)


def test_packages_that_were_installed_into_an_archive(archive: Path) -> None:
    assert not has_installed(archive)
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("package-1.dist-info/METADATA", "")
    assert has_installed(archive)
    archive.write_bytes(b"damaged")
    assert not has_installed(archive)
