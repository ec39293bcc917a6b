"""The lines of `sync`."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from autoinstrument.cli import main
from autoinstrument.cli.outcomes import print_outcome
from autoinstrument.sync.selection import Outcome


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (Outcome("r", "run", "synced", "http://task"), "run: synced http://task"),
        (Outcome("r", "run", "failed", "no answer"), "run: failed: no answer"),
        (Outcome("r", "", "pending", "no Task yet"), "r: pending: no Task yet"),
        (Outcome("r", "run", "running", ""), "run: running"),
        (Outcome("r", "a\x1b[2Jb\nc", "failed", "no\ttab"), r"a\x1b[2Jb c: failed: no\x09tab"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_address_follows_the_result_and_a_reason_follows_a_colon(
    capsys: pytest.CaptureFixture[str], outcome: Outcome, line: str
) -> None:
    print_outcome(outcome)
    assert capsys.readouterr().out == f"{line}\n"


def test_each_reason_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (Outcome(name, name, "failed", "no answer", "mlflow") for name in ("a", "b"))
    print_outcome(second, first)
    server = Outcome("", "", "failed", "no answer", "mlflow")
    print_outcome(server)
    print_outcome(server, server)
    print_outcome(first, server)
    assert capsys.readouterr() == ("b: failed, as a\na: failed\n", "no answer\n")


@pytest.mark.parametrize("command", [["sync", "--all"], ["sync", "--run", "x"], ["sync", "--run", "x", "--run", "y"]])
def test_a_missing_store_is_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    monkeypatch.setenv("AUTOINSTRUMENT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, command)
    assert (done.exit_code, done.output.count("does not exist"), done.output.count("sqlite:")) == (1, 1, 1), done.output
    assert "nothing" not in done.output


def test_sync_names_the_folder_that_has_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`status` may call runs pending that were recorded elsewhere, or nowhere."""
    monkeypatch.setenv("AUTOINSTRUMENT_HOME", str(tmp_path / "home"))
    done = CliRunner().invoke(main, ["sync"])
    assert (done.exit_code, done.output.splitlines()) == (
        0,
        [
            f"nothing to do: no run is recorded in {tmp_path / 'home'}; "
            "`autoinstrument sync --all` completes all runs of MLflow"
        ],
    )
