"""The code of a program: a file, a module, a text, or a note on why there is none."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

import pytest

from autoinstrument.capture.code import code_of, command_name, module_root, module_started_in, python_name, read
from tests.unit.mirror.runs import PROCESS


def test_a_script_and_one_that_was_deleted(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("print(1)\n")
    process = PROCESS._replace(main_kind="script", main_path=str(script), main_module="")
    found = code_of(process, tmp_path)
    assert (found.folder, found.file, found.text) == (tmp_path, script, "")
    script.unlink()
    assert "train.py was deleted before it could be read" in code_of(process, tmp_path).text


@pytest.mark.parametrize(
    ("kind", "path", "source", "name"),
    [
        ("command", "", "print(1)", "command.py"),
        ("interactive", "", "# %%\nprint(1)\n", "interactive.py"),
        ("notebook", "", "# %%\nprint(1)\n", "notebook.py"),
        ("notebook", "/x/my notes.ipynb", "# %%\nprint(1)\n", "my_notes.py"),
    ],
)
def test_a_text_that_no_file_holds(tmp_path: Path, kind: str, path: str, source: str, name: str) -> None:
    found = code_of(PROCESS._replace(main_kind=kind, main_path=path, source=source), tmp_path)
    assert found.name == name
    assert found.text.endswith("print(1)\n")
    assert found.folder == (Path(path).parent if path else tmp_path)


def test_standard_input_is_not_kept(tmp_path: Path) -> None:
    found = code_of(PROCESS._replace(main_kind="interactive", main_path="", source=""), tmp_path)
    assert "read from standard input" in found.text


def test_a_command_of_the_environment_is_its_text(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("python", "trainer"):
        (tmp_path / "bin" / name).write_text("import trainer\n")
    process = PROCESS._replace(
        main_kind="script", main_path=str(tmp_path / "bin" / "trainer"), executable=str(tmp_path / "bin" / "python")
    )
    found = code_of(process, Path("/work"))
    assert (found.folder, found.file, found.name, found.text) == (
        Path("/work"),
        None,
        "run_trainer.py",
        "import trainer\n",
    )


def test_a_module_of_the_standard_library_is_no_code_of_the_user() -> None:
    """`python -m unittest test_train` is described by its name, not by Python's own repository."""
    path = Path(os.__file__).parent / "unittest" / "__main__.py"
    process = PROCESS._replace(
        main_kind="module", main_path=str(path), main_module="unittest", sys_path=["/work", *sys.path]
    )
    found = code_of(process, Path("/work"))
    assert (found.folder, found.file, found.module, found.text) == (Path("/work"), None, "unittest", "")


def test_names() -> None:
    assert (python_name(Path("a/train.py")), python_name(Path("train.txt"))) == ("train.py", "train.py")
    assert (command_name("trainer"), command_name("my-trainer")) == ("run_trainer.py", "my-trainer.py")
    assert module_root(Path("/src/pkg/train.py"), "pkg.train") == Path("/src")
    assert module_root(Path("/src/pkg/__init__.py"), "pkg") == Path("/src")
    assert module_root(Path("/src/pkg/train.py"), "other") is None


@pytest.mark.parametrize(
    ("module", "path", "cwd", "working_dir", "expected"),
    [
        ("pkg", "src/pkg/__main__.py", ".", "src", "."),
        ("pkg.train", "src/pkg/train.py", "runs/one", "src", "runs/one"),
        ("pkg.train", "src/pkg/train.py", "src", "src", ""),
        ("pkg.train", "src/pkg/train.py", "src/pkg", "src", "src/pkg"),
        ("pkg.train", "src/pkg/train.py", "..", "src", ""),  # outside
        ("pkg.train", "pkg/train.py", "runs", ".", "runs"),
        ("pkg.train", "pkg/train.py", ".", ".", ""),
        ("pkg.train", "libs/one/src/pkg/train.py", "libs/one", "libs/one/src", "libs/one"),
        ("tool", ".venv/lib/python3.11/site-packages/tool/__main__.py", ".", ".", ""),  # installed
        ("pkg.train", "src/pkg/train.py", ".", "other", ""),  # CLEARML_VCS_WORK_DIR
        ("", "src/pkg/train.py", ".", "src", ""),  # a script
    ],
)
def test_where_a_module_was_started(
    tmp_path: Path, module: str, path: str, cwd: str, working_dir: str, expected: str
) -> None:
    """Relative to the repository's root; "" where an agent starts it in the same folder, or cannot start it there."""
    (tmp_path / "link").symlink_to(tmp_path / "repo")
    process = PROCESS._replace(
        main_kind="module" if module else "script", main_module=module, main_path=str(tmp_path / "link" / path),
        cwd=str(tmp_path / "repo" / cwd),
    )  # fmt: skip
    script = {"repository": "https://host/a.git", "working_dir": working_dir}
    assert module_started_in(process, script) == expected
    assert module_started_in(process, {**script, "repository": ""}) == ""
    assert module_started_in(process, {}) == ""  # not captured yet


def test_archives_good_and_bad(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as archive:
        archive.writestr("__main__.py", "print('app')")
    assert read(tmp_path / "app.pyz") == "print('app')"
    with zipfile.ZipFile(tmp_path / "empty.pyz", "w"):
        pass
    assert "empty.pyz could not be read" in read(tmp_path / "empty.pyz")
    assert "none.py could not be read: No such file" in read(tmp_path / "none.py")
