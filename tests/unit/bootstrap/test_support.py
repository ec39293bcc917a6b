"""The agent is wanted if MLflow's version and the settings allow it; it is asked once, and a refusal is final."""

from __future__ import annotations

import mlflow.version
import pytest

from autoinstrument.agent import process_agent
from autoinstrument.bootstrap import support


@pytest.fixture(autouse=True)
def never_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "_wanted", None)
    monkeypatch.setattr(process_agent, "_agent", object())  # making one would capture this process's console
    monkeypatch.setattr(process_agent, "_is_settled", True)


def test_a_supported_version_with_an_agent_is_wanted() -> None:
    assert support.is_wanted() is True


def test_an_agent_that_refused_its_settings_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_agent, "_agent", None)
    monkeypatch.setattr(process_agent, "_refused", True)
    assert support.is_wanted() is False
    monkeypatch.setattr(process_agent, "_agent", object())
    assert support.is_wanted() is False, "modules of MLflow that are imported later are left alone, too"


@pytest.mark.parametrize("version", ["2.15.1", "4.0.0"])
def test_another_version_is_not(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow.version, "VERSION", version)
    assert support.is_wanted() is False
