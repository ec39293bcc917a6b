"""Every test is in one tier, and arguments choose tiers and tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import __main__ as command
from tests.__main__ import TIERS, Result, select
from tests.startup.environment import ROOT


def names(*arguments: str) -> list[str]:
    return [tier.name for tier in select(arguments)[0]]


def test_every_test_file_is_in_one_tier() -> None:
    folders = [folder for tier in TIERS if tier.is_default for folder in tier.folders]
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        held = [folder for folder in folders if (ROOT / folder) in (file, *file.parents)]
        assert len(held) == 1, f"{file.relative_to(ROOT)} is in {held}"


def test_the_folders_of_tiers_are_there() -> None:
    missing = [folder for tier in TIERS for folder in tier.folders if not (ROOT / folder).exists()]
    assert missing == []


def test_without_arguments_all_but_the_table_of_faults_runs() -> None:
    assert names() == [tier.name for tier in TIERS if tier.name != "faults"]
    assert names()[0] == "unit"


def test_pytests_arguments_leave_out_what_pytest_does_not_run() -> None:
    assert {"lint", "oldest", "faults"} & set(names("-k", "console")) == set()
    assert select(["-k", "unit"])[1] == ["-k", "unit"], "a tier's name is one only at the beginning"


def test_tiers_are_named_first() -> None:
    tiers, rest = select(["unit", "faults", "-n", "0", "-x"])
    assert ([tier.name for tier in tiers], rest) == (["unit", "faults"], ["-n", "0", "-x"])


@pytest.mark.parametrize("path", ["tests/startup", "tests/startup/test_wheel.py::test_it", "./tests/startup/"])
def test_a_path_runs_its_tier_alone(path: str) -> None:
    tiers, rest = select([path, "-x"])
    assert [(tier.name, tier.folders) for tier in tiers] == [("interpreters", (path,))]
    assert rest == ["-x"]


def test_a_path_outside_the_tiers_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["docs"])
    assert ended.value.code == 2
    assert "no tier holds these paths" in capsys.readouterr().err


@pytest.fixture
def run_tiers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lets each tier pass but `lint`; returns the names of those that ran."""
    ran: list[str] = []

    def run(tier: command.Tier, *_: object) -> Result:
        ran.append(tier.name)
        return Result(tier.name, tier.name != "lint", "7 tests", 1.0, 2.0)

    monkeypatch.setattr(command, "_run_tier", run)
    monkeypatch.setattr(command, "environment", lambda *_: "python")
    return ran


def test_a_tier_that_fails_is_the_last(run_tiers: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == 1
    assert run_tiers == ["unit", "lint"]
    assert "not run: processes, interpreters" in capsys.readouterr().out


def test_all_tiers_run_on_demand(run_tiers: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--keep-going"]) == 1
    assert run_tiers == names()
    total = capsys.readouterr().out.splitlines()[-1].split()
    assert total == ["all", "9", "s", "18", "CPU", "s", "FAILED"]


def test_tiers_that_pass_are_a_success(run_tiers: list[str]) -> None:
    assert command.main(["unit", "browser"]) == 0
    assert run_tiers == ["unit", "browser"]


@pytest.mark.parametrize(
    ("attributes", "numbers"),
    [
        ('tests="1335" failures="0" errors="0" skipped="3"', "1,335 tests, 3 skipped"),
        ('tests="2" failures="1" errors="1" skipped="0"', "2 tests, 1 failed, 1 errors"),
    ],
)
def test_numbers_are_those_of_pytests_report(attributes: str, numbers: str, tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(f'<testsuites><testsuite name="pytest" {attributes} /></testsuites>')
    assert command._count(tmp_path / "report.xml") == numbers
    assert command._count(tmp_path / "none.xml") == "no tests"
