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
from autoinstrument.settings import Settings
from tests.unit.integrations.conftest import Recorder, copied


def test_nothing_is_wrapped_where_everything_is_mirrored(recorder: Recorder) -> None:
    assert mlflow_experiments.methods() == {}


def test_names_are_learned_from_calls(recorder: Recorder, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoinstrument.agent.Console.attach", lambda _: None)
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
