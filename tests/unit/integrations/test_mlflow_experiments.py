"""The names of experiments are learned from MLflow's own calls, where they decide what is mirrored."""

from __future__ import annotations

import os
from typing import Any

import pytest
from mlflow.tracking._tracking_service import client as module

from autoinstrument.agent import process_agent
from autoinstrument.agent.selective_agent import SelectiveAgent
from autoinstrument.integrations import mlflow_experiments
from autoinstrument.integrations.mlflow_tracking import instrument_client
from autoinstrument.mlflow_store.describe import started
from autoinstrument.settings import Settings
from tests.unit.integrations.conftest import Recorder, copied


def test_only_new_names_are_noted_where_everything_is_mirrored(recorder: Recorder) -> None:
    assert list(mlflow_experiments.methods()) == ["rename_experiment"]


def test_a_new_name_counts_for_the_next_run(recorder: Recorder, uri: str) -> None:
    copy = copied(module, "TrackingServiceClient")
    instrument_client(copy)
    client: Any = copy.TrackingServiceClient(uri)
    experiment = client.create_experiment("before")

    def name_for_a_run() -> str:
        make = started(client.create_run(experiment), uri, "", resumed=False, owned=True)
        return str(getattr(make(), "experiment_name"))  # noqa: B009  (it may return None)

    assert name_for_a_run() == "before"
    client.rename_experiment(experiment, "after")
    assert name_for_a_run() == "after"


def test_names_are_learned_from_calls(recorder: Recorder, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoinstrument.agent.process_console.ConsoleCapture.attach", lambda _: None)
    monkeypatch.setattr(os, "register_at_fork", lambda **_: None)
    agent = SelectiveAgent(Settings(experiments=("prod/*",)))
    monkeypatch.setattr(process_agent, "_agent", agent)
    copy = copied(module, "TrackingServiceClient")
    instrument_client(copy)
    client: Any = copy.TrackingServiceClient(uri)

    def known() -> dict[str, bool]:
        return {experiment_id: mirrored for (_, experiment_id), mirrored in agent._is_mirrored.items()}

    assert client.get_experiment_by_name("nothing") is None
    assert known() == {}
    first = client.create_experiment("prod/a")
    assert known() == {first: True}
    client.rename_experiment(first, "scratch")
    assert known() == {first: False}
    client.get_experiment("0")
    client.rename_experiment(first, "prod/b")
    client.get_experiment_by_name("prod/b")
    assert known() == {first: True, "0": False}
