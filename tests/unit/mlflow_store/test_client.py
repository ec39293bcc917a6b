"""Limits of MLflow's clients in processes of the agent's own."""

from __future__ import annotations

import os

import pytest

from autoinstrument.mlflow_store import client, internals

RETRIES, TIMEOUT = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (RETRIES, TIMEOUT):
        monkeypatch.setenv(name, "")  # so that it is as before afterwards
        del os.environ[name]
    monkeypatch.setattr(client, "_artifact_root", "")


def test_commands_try_briefly_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    client.try_briefly()
    assert os.environ[RETRIES] == "2"
    monkeypatch.setenv(RETRIES, "5")
    client.try_briefly()
    assert os.environ[RETRIES] == "5"


@pytest.mark.parametrize(
    ("given", "taken"), [("", ("1", "20")), ("0", ("0", "0")), ("9999", ("1", "20")), ("x", ("1", "20"))]
)
def test_a_worker_gives_up_within_a_minute(given: str, taken: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    if given:
        monkeypatch.setenv(RETRIES, given)
        monkeypatch.setenv(TIMEOUT, given)
    client.give_up_soon("/folder")
    assert (os.environ[RETRIES], os.environ[TIMEOUT]) == taken


def test_only_a_worker_has_an_artifact_root_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    roots: list[str] = []
    monkeypatch.setattr(internals, "set_default_artifact_root", roots.append)
    client.use_artifact_root()
    client.give_up_soon("/folder")
    client.use_artifact_root()
    assert roots == ["/folder"]
