"""Where URIs lead: stores and artifact roots on this machine and elsewhere, and pages of runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoinstrument.clone_run.settings import is_elsewhere
from autoinstrument.mlflow_store.urls import is_path, local_path, local_store, run_page


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("sqlite:////srv/my runs/mlflow.db?timeout=5", "/srv/my runs/mlflow.db"),
        ("sqlite+pysqlite:////srv/a%20b.db", "/srv/a%20b.db"),
        ("file:///srv/my%20runs", "/srv/my runs"),
        ("file:/srv/runs", "/srv/runs"),
        ("/srv/my runs", "/srv/my runs"),
        ("sqlite:///:memory:", None),
        ("http://host/srv", None),
        ("postgresql://u:p@host/db", None),
        ("databricks", None),
    ],
)
def test_a_store_of_this_machine_has_a_path(uri: str, path: str | None) -> None:
    assert local_store(uri) == (path and Path(path))
    assert is_elsewhere(uri) == (path is not None)


def test_a_relative_store_is_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert local_store("sqlite:///mlflow.db") == tmp_path / "mlflow.db"
    assert local_store("./my runs") == tmp_path / "my runs"
    assert not is_elsewhere("./my runs")
    (tmp_path / "my runs").mkdir()
    assert not is_elsewhere((tmp_path / "my runs").as_uri())


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///C:/my%20runs", "C:/my runs"),
        ("file://server/share/runs", "//server/share/runs"),
        ("C:\\runs", "C:\\runs"),
        ("c:/runs", "c:/runs"),
        ("/runs", "/runs"),
        ("http://host/C:/x", None),
        ("s3://bucket", None),
    ],
)
def test_paths_on_windows(uri: str, path: str | None) -> None:
    assert local_path(uri, windows=True) == path


@pytest.mark.parametrize(
    ("uri", "on_windows", "elsewhere"),
    [
        ("C:\\runs", True, False),
        ("C:/runs", True, False),
        ("./runs", True, True),
        ("runs", True, True),
        ("databricks", False, False),
        ("databricks://profile", False, False),
        ("http://host", False, False),
        ("sqlite:///x", False, False),
        ("", False, False),
    ],
)
def test_texts_that_are_paths(uri: str, on_windows: bool, elsewhere: bool) -> None:
    assert (is_path(uri, windows=True), is_path(uri, windows=False)) == (on_windows, elsewhere)


def test_drive_letters_mean_nothing_elsewhere() -> None:
    assert local_path("file:///C:/runs", windows=False) == "/C:/runs"
    assert local_path("C:/runs", windows=False) is None


def test_the_page_of_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run_page("http://u:p@h/base/", "1", "r") == "http://h/base/#/experiments/1/runs/r"
    assert run_page("sqlite:///x", "1", "r", ui="https://ui/") == "https://ui/#/experiments/1/runs/r"
    assert run_page("sqlite:///x", "1", "r") == ""
    monkeypatch.delenv("DATABRICKS_HOST", raising=False)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "none"))
    assert run_page("databricks", "1", "r") == ""
    monkeypatch.setenv("DATABRICKS_HOST", "work.space")
    assert run_page("databricks", "1", "r") == "https://work.space/ml/experiments/1/runs/r"
    (tmp_path / "file").write_text("[other]\nhost = https://other/\n")
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "file"))
    assert run_page("databricks://other", "1", "r") == "https://other/ml/experiments/1/runs/r"
