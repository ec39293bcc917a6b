"""A run is described a moment after it has begun, and as it was when it began."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from autoinstrument.mlflow_store import describe

INFO = SimpleNamespace(
    run_id="1" * 32, run_name="one", experiment_id="0", artifact_uri="./mlruns/0/1/artifacts", start_time=1
)


def test_relative_addresses_are_those_of_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's default store is `sqlite:///mlflow.db`, and a script may change its working directory at once."""
    uri = "sqlite:///mlflow.db"
    monkeypatch.setitem(describe._experiments, (uri, "0"), ("experiment", math.inf))
    monkeypatch.chdir(tmp_path)
    run = SimpleNamespace(info=INFO, data=SimpleNamespace(tags={}))
    make = describe.started(run, uri, "", resumed=False, owned=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    record = make()
    assert record is not None
    assert record.tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert record.artifact_uri == (tmp_path / "mlruns/0/1/artifacts").as_uri()


def test_blanks_around_the_address_of_the_ui_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for every setting, see `settings.Setting.read`."""
    monkeypatch.setenv("AUTOINSTRUMENT_MLFLOW_UI", " http://ui/ ")
    run = SimpleNamespace(info=INFO, data=SimpleNamespace(tags={}))
    record = describe.describe(run, "sqlite:////x.db", "", experiment_name="a", resumed=False, owned=True)
    assert record.run_url == f"http://ui/#/experiments/0/runs/{'1' * 32}"
