"""The private parts of MLflow with which traces are read are there, and do what they are used for."""

from __future__ import annotations

import pytest
from mlflow.store.tracking.file_store import FileStore
from mlflow.tracking import MlflowClient

from autoinstrument.mlflow_store import trace_internals
from autoinstrument.mlflow_store.folder_store import reads_as_a_whole

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_answers_of_a_database(client: MlflowClient) -> None:
    run_id = str(client.create_run("0").info.run_id)
    tracking, experiment_id = client._tracking_client, "0"
    assert trace_internals.search_traces(tracking, experiment_id, run_id, 10, None) == ([], None)
    assert trace_internals.assessment_counts(tracking.store, experiment_id, run_id) in (None, ({}, {}))
    assert not reads_as_a_whole(tracking.store)
    assert reads_as_a_whole(object.__new__(FileStore))
