"""Every test is in one tier, and arguments choose tiers and tests."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import IO

import pytest

from tests import __main__ as command
from tests import tiers
from tests.junit_report import count
from tests.tiers import ROOT, TIERS, Result, Tier, select


def names(*arguments: str) -> list[str]:
    return [tier.name for tier in select(arguments)[0]]


def test_every_test_file_is_in_one_tier() -> None:
    folders = [folder for tier in TIERS if tier.name != "faults" for folder in tier.folders]
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        held = [folder for folder in folders if (ROOT / folder) in (file, *file.parents)]
        assert len(held) == 1, f"{file.relative_to(ROOT)} is in {held}"


def test_the_folders_of_tiers_are_there() -> None:
    missing = [folder for tier in TIERS for folder in tier.folders if not (ROOT / folder).exists()]
    assert missing == []


def test_marked_unit_tests_are_left_to_the_tier_of_interpreters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path runs them where they are."""
    commands: list[list[str]] = []
    monkeypatch.setattr(tiers, "_run_measured", lambda command, _: commands.append(command) or (0, 0.0))
    for arguments in (["unit"], ["interpreters"], ["tests/unit/capture/test_hydra.py"]):
        (tier,), rest = select(arguments)
        tiers._run_tier(tier, "python", rest, tmp_path, None, None, again=False)
    unit, interpreters, hydra = commands
    assert unit[unit.index("-m", 2) + 1] == "not interpreter"
    assert interpreters[interpreters.index("-m", 2) + 1] == "interpreter or not unit"
    assert {"tests/startup", "tests/unit/capture/test_hydra.py", "tests/unit/cli/test_native_heap.py"} <= set(
        interpreters
    ), "the marker stands alone, or in a list of markers"
    assert "tests/unit/capture/test_git.py" not in interpreters
    assert "-m" not in hydra[2:]


def test_without_arguments_all_but_the_tiers_of_hours_run() -> None:
    assert names() == [tier.name for tier in TIERS if tier.name not in ("faults", "hosts", "soak")]
    assert names()[0] == "unit"


def test_pytest_arguments_leave_out_tiers_without_pytest() -> None:
    assert {"lint", "oldest", "faults", "soak"} & set(names("-k", "console")) == set()
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
    """Lets each tier pass but `lint`; returns the names of those that ran, one after the other."""
    ran: list[str] = []

    def run(tier: Tier, *_: object, again: bool) -> Result:
        ran.append(tier.name)
        return Result(tier.name, tier.name != "lint", "7 tests", 1.0, 2.0)

    monkeypatch.setattr(tiers, "_run_tier", run)
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
    assert total == ["all", "0", "s", "16", "CPU", "s", "FAILED"]


def test_tiers_that_pass_are_a_success(run_tiers: list[str]) -> None:
    assert command.main(["unit", "browser"]) == 0
    assert run_tiers == ["unit", "browser"]


def test_all_but_the_first_tier_run_two_at_a_time(
    run_tiers: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The output of each is printed whole, and the summary has them in their order."""
    pair = threading.Barrier(2)

    def run(
        tier: Tier,
        python: str,
        arguments: object,
        scratch: Path,
        venv: object,
        output: IO[bytes] | None,
        *,
        again: bool,
    ) -> Result:
        run_tiers.append(tier.name)
        if output is not None:
            output.write(b"begin\n")
            pair.wait(60)
            output.write(f"end of {tier.name}\n".encode())
        return Result(tier.name, True, "7 tests", 1.0, 2.0)

    monkeypatch.setattr(tiers, "_run_tier", run)
    chosen = ["unit", "stores", "processes", "browser", "interpreters"]
    assert command.main(["--lanes", "2", *chosen]) == 0
    assert run_tiers[0] == "unit"
    assert sorted(run_tiers) == sorted(chosen)
    printed = capsys.readouterr().out
    assert all(f"begin\nend of {name}\n== {name} " in printed for name in chosen[1:])
    summary = [line.split()[0] for line in printed.partition("summary")[2].splitlines() if line]
    assert summary == [*chosen, "all"]


def test_after_a_failure_no_tier_begins(run_tiers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2)

    def run(tier: Tier, *_: object, again: bool) -> Result:
        run_tiers.append(tier.name)
        if tier.name != "unit":
            both.wait(60)
        return Result(tier.name, tier.name == "unit", "7 tests", 1.0, 2.0)

    monkeypatch.setattr(tiers, "_run_tier", run)
    assert command.main(["--lanes", "2"]) == 1
    assert sorted(run_tiers) == ["lint", "processes", "unit"]


def test_processor_time_is_that_of_all_processes() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])\nsys.exit(3)"
    exit_code, cpu_s = tiers._run_measured([sys.executable, "-c", code], None)
    assert exit_code == 3
    assert cpu_s >= 0.3 or sys.platform == "win32"


@pytest.mark.parametrize(
    ("attributes", "numbers"),
    [
        ('tests="1335" failures="0" errors="0" skipped="3"', "1,335 tests, 3 skipped"),
        ('tests="2" failures="1" errors="1" skipped="0"', "2 tests, 1 failed, 1 errors"),
    ],
)
def test_numbers_are_those_of_pytests_report(attributes: str, numbers: str, tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(f'<testsuites><testsuite name="pytest" {attributes} /></testsuites>')
    assert count(tmp_path / "report.xml") == numbers
    assert count(tmp_path / "none.xml") == "no tests"


@pytest.mark.parametrize(("fails", "again"), [("once", True), ("always", True), ("once", False)])
def test_a_test_that_fails_by_chance_runs_once_more_on_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str, again: bool
) -> None:
    """Its tier has passed if it passes then; the other tests do not run again."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # loading them takes longer than all else
    monkeypatch.setenv("PYTEST_PLUGINS", "xdist.plugin")
    (tmp_path / "test_it.py").write_text(
        f"""
import pathlib
log = pathlib.Path({str(tmp_path / "log")!r})

def test_well():
    log.open("a").write("well ")

def test_by_chance():
    was = log.read_text()
    log.open("a").write("chance ")
    assert {fails == "once"} and "chance" in was
"""
    )
    tier = Tier("small", "", (str(tmp_path),), processes=0)
    [result] = tiers.run([tier], sys.executable, [], None, lanes=1, keep_going=True, again=again)
    assert result.passed is (again and fails == "once")
    assert result.numbers == "2 tests, 1 failed" + ("; passed alone" if result.passed else "")
    assert (tmp_path / "log").read_text() == "well chance " + ("chance " if again else "")
