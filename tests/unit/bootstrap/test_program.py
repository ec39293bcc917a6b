"""The program that an interpreter runs, by its command line."""

from __future__ import annotations

import pytest

from autoinstrument.bootstrap.program import is_other_program, what_runs


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("train.py --lr 1", ("", "train.py")),
        ("-u -W ignore -X dev train.py", ("", "train.py")),
        ("-Wignore train.py", ("", "train.py")),
        ("--check-hash-based-pycs never train.py", ("", "train.py")),
        ("-- -odd-name.py", ("", "-odd-name.py")),
        ("-m pkg.train --epochs 3", ("m", "pkg.train")),
        ("-Im pkg.train", ("m", "pkg.train")),
        ("-mpkg.train", ("m", "pkg.train")),
        ("-c print(1) -m pip", ("c", "print(1)")),
        ("- train.py", ("-", "")),
        ("-i", ("-", "")),
        ("", ("-", "")),
        ("-m", ("m", "")),
        ("-m train.main -c config", ("m", "train.main")),
        ("-Wc print(1)", ("", "print(1)")),
        ("-Wignore -c print(1)", ("c", "print(1)")),
        ("-Xdev -uc print(1)", ("c", "print(1)")),
        ("--check-hash-based-pycs always -c print(1)", ("c", "print(1)")),
        ("- -c print(1)", ("-", "")),
        ("-c", ("c", "")),
    ],
)
def test_the_program_of_a_command_line(line: str, found: tuple[str, str]) -> None:
    assert what_runs(line.split()) == found


@pytest.mark.parametrize(
    ("line", "is_other"),
    [
        ("python -m pip install mlflow", True),
        ("python -m pip.__main__", True),
        ("python /usr/bin/pip3.12 install mlflow", True),
        ("python /venv/Scripts/uv.exe sync", True),
        ("python /site-packages/pip/__pip-runner__.py", True),
        ("python -m pipeline", False),
        ("python -m autoinstrument sync", True),
        ("python -m autoinstrument.project_backend main", False),
        ("python build.py", False),
        ("python /work/pip/train.py", False),
        ("python -c pip", False),
        ("python /venv/Scripts/clearml-agent.exe daemon", True),
        ("python", False),
    ],
)
def test_installers_and_build_tools_are_other_programs(line: str, is_other: bool) -> None:
    assert is_other_program(line.split()) is is_other
