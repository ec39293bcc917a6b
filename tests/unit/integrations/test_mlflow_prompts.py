"""Prompts that a run loads or registers are read from the registry."""

from __future__ import annotations

import json
from typing import Any

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from mlflow.tracking._model_registry import client as registry_module
from mlflow.tracking._tracking_service import client as tracking_module

from autoinstrument.integrations import mlflow_models, mlflow_prompts
from autoinstrument.integrations.mlflow_tracking import instrument_client
from autoinstrument.records import PromptsUsed, TagsSet
from tests.unit.integrations.conftest import Recorder, copied

TAGS = {"mlflow.prompt.is_prompt": "true", "mlflow.prompt.text": "Hello {{name}}", "team": "a"}


@pytest.fixture
def registry(uri: str, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A registry with a prompt, of which no run is known yet."""
    monkeypatch.setattr(mlflow_prompts, "_used", {})
    copy = copied(registry_module, "ModelRegistryClient")
    mlflow_models.instrument_registry(copy)
    client = copy.ModelRegistryClient(uri, uri)
    client.create_registered_model("greet", tags={"mlflow.prompt.is_prompt": "true"})
    return client


@pytest.fixture
def run_id(uri: str, recorder: Recorder) -> str:
    """A run of a client that the agent watches: only stores that the training has opened are read."""
    copy = copied(tracking_module, "TrackingServiceClient")
    instrument_client(copy)
    run_id = str(copy.TrackingServiceClient(uri).create_run("0").info.run_id)
    recorder.runs.append(run_id)
    return run_id


def test_a_registered_prompt_belongs_to_the_open_run(registry: Any, run_id: str, recorder: Recorder) -> None:
    registry.create_model_version("greet", "prompt-template", tags=TAGS)
    registry.create_model_version("greet", "prompt-template", tags=TAGS)
    assert recorder.reads.keys() == {(run_id, "prompts")}
    used = recorder.reads[run_id, "prompts"]()
    assert isinstance(used, PromptsUsed)
    assert [(each["version"], each["template"], each["tags"]) for each in used.prompts] == [
        ("1", "Hello {{name}}", {"team": "a"}),
        ("2", "Hello {{name}}", {"team": "a"}),
    ]


def test_a_prompt_that_is_registered_outside_of_runs_belongs_to_none(registry: Any, recorder: Recorder) -> None:
    registry.create_model_version("greet", "prompt-template", tags=TAGS)
    assert not recorder.reads


def test_a_prompt_that_mlflow_links_is_read_and_so_is_the_tag(
    registry: Any, run_id: str, recorder: Recorder, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # MLflow sets the tag in the store of the process
    registry.create_model_version("greet", "prompt-template", tags=TAGS)
    recorder.reads.clear()
    registry.link_prompt_version_to_run("greet", "1", run_id)
    tag = recorder.reads[run_id, "tag mlflow.linkedPrompts"]()
    assert isinstance(tag, TagsSet)
    assert json.loads(tag.tags["mlflow.linkedPrompts"]) == [{"name": "greet", "version": "1"}]
    used = recorder.reads[run_id, "prompts"]()
    assert isinstance(used, PromptsUsed)
    assert [each["version"] for each in used.prompts] == ["1"]


def test_a_prompt_that_an_older_mlflow_has_loaded_names_its_runs_in_a_tag(
    registry: Any, run_id: str, recorder: Recorder
) -> None:
    registry.create_model_version("greet", "prompt-template", tags=TAGS)
    mlflow_prompts._used.clear()
    recorder.reads.clear()
    registry.set_model_version_tag("greet", "1", "mlflow.prompt.run_ids", f"{'e' * 32},{run_id}")
    assert {key for key in recorder.reads if key[1] == "prompts"} == {(run_id, "prompts")}
    registry.set_model_version_tag("greet", "1", "other", run_id)
    assert list(mlflow_prompts._used) == [run_id]


def test_the_active_run_of_the_thread_comes_first(
    registry: Any, run_id: str, recorder: Recorder, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    other = str(MlflowClient(uri).create_run("0").info.run_id)
    recorder.runs.append(other)
    with mlflow.start_run(run_id):
        registry.create_model_version("greet", "prompt-template", tags=TAGS)
    assert recorder.reads.keys() == {(run_id, "prompts")}
