"""`open` finds the page that a person means."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from mlflow import MlflowClient

from autoinstrument.cli.open_page import open_page
from autoinstrument.cli.run_rows import Row, listed_rows
from autoinstrument.settings import read_settings


@pytest.fixture
def runs(client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two runs with Tasks, and then one without; two have the same name."""
    monkeypatch.setenv("AUTOINSTRUMENT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BROWSER", raising=False)
    monkeypatch.setenv("DISPLAY", ":1")
    ids = []
    for number, name in enumerate(["same", "same", "other"]):
        tags = {"clearml.task_id": f"{number}{'f' * 31}", "clearml.task_url": f"http://clearml/{number}"}
        run = client.create_run("0", start_time=1_000_000 + number, run_name=name, tags=tags if number < 2 else {})
        client.set_terminated(run.info.run_id)
        ids.append(run.info.run_id)
    return ids


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    addresses: list[str] = []
    monkeypatch.setattr(webbrowser, "open", addresses.append)  # there is no screen where tests run
    return addresses


def call(*words: str) -> Result:
    return CliRunner().invoke(open_page, words)


def test_rows(runs: list[str]) -> None:
    rows, problem = listed_rows(read_settings(), limit=2)
    assert ([row.run_id for row in rows], problem) == ([runs[2], runs[1]], "")
    assert Row._fields[0] == "run_id"


def test_by_the_ids_that_status_shows(runs: list[str], opened: list[str]) -> None:
    for word in (runs[1], runs[1][:8], "1fffffff"):
        done = call(word)
        assert (done.exit_code, done.output) == (0, "http://clearml/1\n")
    assert opened == ["http://clearml/1"] * 3


def test_a_name_must_be_of_one_run(runs: list[str], opened: list[str]) -> None:
    done = call("same")
    assert done.exit_code == 1
    assert done.output == f"Error: 2 runs are meant by 'same': name one by its id ({runs[1][:8]}, {runs[0][:8]})\n"
    assert opened == []


def test_only_pages_are_opened(client: MlflowClient, runs: list[str], opened: list[str]) -> None:
    """Anybody who may write to MLflow may set the tag: a browser would open a file, or start another program."""
    client.set_tag(runs[2], "clearml.task_url", "file:///etc/passwd\x1b[2J")
    done = call("other")
    assert (done.exit_code, done.output) == (0, "file:///etc/passwd\\x1b[2J\n")
    assert opened == []


def test_the_latest_run_has_no_task(runs: list[str], opened: list[str]) -> None:
    done = call()
    assert (done.exit_code, done.output) == (1, "Error: other: it has no Task\n")


def test_no_such_run(runs: list[str]) -> None:
    output = call("zzz").output
    assert output.startswith("Error: there is no run 'zzz' in sqlite://")
    assert output.endswith("; `autoinstrument status` lists runs\n")


def test_a_store_without_pages(runs: list[str], opened: list[str]) -> None:
    done = call("1fffffff", "--mlflow")
    assert (done.exit_code, done.output) == (1, f"Error: same: its store has no pages ({runs[1]})\n")


@pytest.mark.skipif("not __import__('sys').platform.startswith('linux')", reason="others always have a screen")
def test_without_a_screen_the_address_is_printed(
    runs: list[str], opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("0fffffff", "--print").output == "http://clearml/0\n"
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert call("0fffffff").output == "http://clearml/0\n"
    assert opened == []
