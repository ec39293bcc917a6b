from __future__ import annotations

import shlex

import pytest

from autoinstrument.bootstrap.program import is_other_program, what_runs


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("train.py --epochs 3", ("", "train.py")),
        ("-X dev -W error train.py -m module", ("", "train.py")),
        ("-m train.main -c config", ("m", "train.main")),
        ("-mtrain", ("m", "train")),
        ("-Im train", ("m", "train")),
        ("-c 'print(1)' -m x", ("c", "print(1)")),
        ("-Ic 'print(1)'", ("c", "print(1)")),
        ("-Wc 'print(1)'", ("", "print(1)")),
        ("-Wignore -c 'print(1)'", ("c", "print(1)")),
        ("-Xdev -uc 'print(1)'", ("c", "print(1)")),
        ("--check-hash-based-pycs always -c 'print(1)'", ("c", "print(1)")),
        ("-- -train.py", ("", "-train.py")),
        ("- -c 'print(1)'", ("-", "")),
        ("", ("-", "")),
        ("-i", ("-", "")),
        ("-c", ("c", "")),
    ],
)
def test_what_an_interpreter_runs(line: str, found: tuple[str, str]) -> None:
    assert what_runs(shlex.split(line)) == found


@pytest.mark.parametrize(
    ("line", "other"),
    [
        ("python -m pip install x", True),
        ("python -m pip", True),
        ("python /venv/bin/pip3.12 install x", True),
        ("python /venv/Scripts/clearml-agent.exe daemon", True),
        ("python /tmp/build/pip/__pip-runner__.py install", True),
        ("python -m train", False),
        ("python build.py", False),
        ("python -c 'import pip'", False),
        ("python", False),
    ],
)
def test_which_programs_the_agent_stays_out_of(line: str, other: bool) -> None:
    assert is_other_program(shlex.split(line)) is other
