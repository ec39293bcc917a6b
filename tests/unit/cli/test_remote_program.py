"""The program that a command line names; refusals are in `test_usage`."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from autoinstrument.cli.remote_program import described, split


@pytest.mark.parametrize(
    ("command", "kind", "path", "module", "arguments"),
    [
        (["train.py", "--lr", "0.1"], "script", "train.py", "", "--lr 0.1"),
        (["python3.11", "train.py", "a b"], "script", "train.py", "", "'a b'"),
        (["/usr/bin/python", "-m", "pkg.train"], "module", "pkg/train.py", "pkg.train", ""),
        (["-m", "pkg", "x"], "module", "pkg/__main__.py", "pkg", "x"),
        (["explore.ipynb"], "notebook", "explore.ipynb", "", ""),
    ],
)
def test_programs(tmp_path: Path, command: list[str], kind: str, path: str, module: str, arguments: str) -> None:
    (tmp_path / "pkg").mkdir()
    for name in ("train.py", "pkg/train.py", "pkg/__main__.py"):
        (tmp_path / name).touch()
    (tmp_path / "explore.ipynb").write_text('{"cells": [{"cell_type": "code", "source": "a = 1"}]}')
    process = described(command, tmp_path)
    assert (process.main_kind, process.main_path, process.main_module) == (kind, str(tmp_path / path), module)
    assert [value for _, value, _ in process.arguments] == [arguments] * bool(arguments)
    assert process.source == ("# %%\na = 1\n\n" if kind == "notebook" else "")
    assert process.cwd == process.sys_path[0] == str(tmp_path)


@pytest.mark.parametrize(("folder", "is_installed"), [("src", False), ("python", True)])
def test_a_module_of_a_src_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, is_installed: bool
) -> None:
    """In `src`, or where `pip install -e .` has put a folder below this one on the path."""
    file = tmp_path / folder / "pkg" / "__main__.py"
    file.parent.mkdir(parents=True)
    file.touch()
    if is_installed:
        monkeypatch.syspath_prepend(tmp_path / folder)
    process = described(["python", "-m", "pkg", "train"], tmp_path)
    assert (process.main_path, process.main_module, process.cwd) == (str(file), "pkg", str(tmp_path))
    with pytest.raises(click.UsageError, match=r"there is no pkg\.other in this folder"):
        described(["python", "-m", "pkg.other"], tmp_path)


def test_words_of_an_option_that_may_be_repeated() -> None:
    assert split(["numpy 'torch>=2'", "pandas"]) == ["numpy", "torch>=2", "pandas"]
