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


def test_a_module_of_a_src_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python finds the package wherever it is started, if `pip install -e .` has put `src` on its path."""
    (tmp_path / "src" / "pkg").mkdir(parents=True)
    (tmp_path / "src" / "pkg" / "__main__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "src")
    with pytest.raises(click.UsageError, match="pkg is in src, and an agent starts a module in the folder that holds"):
        described(["python", "-m", "pkg", "train"], tmp_path)
    assert described(["python", "-m", "pkg", "train"], tmp_path / "src").main_module == "pkg"


def test_words_of_an_option_that_may_be_repeated() -> None:
    assert split(["numpy 'torch>=2'", "pandas"]) == ["numpy", "torch>=2", "pandas"]
