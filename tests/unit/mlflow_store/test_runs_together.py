"""What many runs lack is found with a few requests, and only what none of them can have is not asked for again."""

from __future__ import annotations

import time
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from autoinstrument.mlflow_store.found_run import LOGGED_MODELS, TRACES, VERSIONS, FoundRun
from autoinstrument.mlflow_store.run_reader import open_run
from autoinstrument.mlflow_store.runs import find_runs
from autoinstrument.mlflow_store.runs_together import read_together
from autoinstrument.records import ModelsLogged, TracesLogged

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
ALL = {LOGGED_MODELS, TRACES, VERSIONS}


@pytest.fixture
def runs(client: MlflowClient) -> list[str]:
    """Three runs that have ended, the second with a registered model."""
    runs = [str(client.create_run("0").info.run_id) for _ in range(3)]
    client.create_registered_model("iris")
    client.create_model_version("iris", "s3://bucket/iris", runs[1])
    for run_id in runs:
        client.log_batch(run_id, [Metric("loss", 0.5, 1, 0)])
        client.set_terminated(run_id)
    return runs


def together(client: MlflowClient) -> dict[str, FoundRun]:
    return read_together(list(find_runs(client.tracking_uri)))


def models(client: MlflowClient, run_id: str, found: FoundRun | None) -> ModelsLogged:
    state = open_run(client.tracking_uri, run_id, found=found).state("models")
    assert isinstance(state, ModelsLogged)
    return state


def test_a_run_that_was_read_together_with_others_is_the_same(client: MlflowClient, runs: list[str]) -> None:
    found = together(client)
    assert {run_id: set(each.lacks) for run_id, each in found.items()} == {
        runs[0]: ALL, runs[1]: ALL - {VERSIONS}, runs[2]: ALL
    }  # fmt: skip
    for run_id in runs:
        alone, known = (open_run(client.tracking_uri, run_id, found=each) for each in (None, found[run_id]))
        assert known.stored == alone.stored
        assert known.end() == alone.end()
        for state in ("models", "inputs", "input models", "prompts", "traces"):
            assert known.state(state) == alone.state(state)
    assert [model["versions"] for model in models(client, runs[1], found[runs[1]]).models]


def test_models_and_traces_of_the_experiment_are_looked_for_in_each_run(client: MlflowClient, runs: list[str]) -> None:
    client.create_logged_model("0", name="net", source_run_id=runs[0])
    with mlflow.start_run(run_id=runs[2]), mlflow.start_span("ask"):
        pass
    mlflow.flush_trace_async_logging()
    found = together(client)
    assert all(not each.lacks & {LOGGED_MODELS, TRACES} for each in found.values())
    assert [model["name"] for model in models(client, runs[0], found[runs[0]]).models] == ["net"]
    traces = open_run(client.tracking_uri, runs[2], found=found[runs[2]]).state("traces")
    assert isinstance(traces, TracesLogged)
    assert traces.traces == 1


def test_nothing_is_known_for_long(client: MlflowClient, runs: list[str]) -> None:
    """A process may resume the run while another one is being synced."""
    found = together(client)[runs[0]]
    client.set_tag(runs[0], "late", "yes")
    client.create_model_version("iris", "s3://bucket/late", runs[0])
    assert "late" not in open_run(client.tracking_uri, runs[0], found=found).run.tags
    old = found._replace(asked_at_s=time.time() - 60)
    assert open_run(client.tracking_uri, runs[0], found=old).run.tags["late"] == "yes"
    assert models(client, runs[0], old).models


def test_few_runs_are_read_one_by_one(client: MlflowClient, runs: list[str]) -> None:
    assert read_together(list(find_runs(client.tracking_uri))[:2]) == {}


def test_a_store_that_does_not_answer_leaves_everything_to_the_reading_of_each_run(
    client: MlflowClient, runs: list[str], tmp_path: Path
) -> None:
    stored = list(find_runs(client.tracking_uri))
    Path(client.tracking_uri.removeprefix("sqlite:///")).unlink()
    assert all(each.run is None and not each.lacks for each in read_together(stored).values())
