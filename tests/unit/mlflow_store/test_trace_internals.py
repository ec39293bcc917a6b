"""The private parts of MLflow with which traces are read are there, and do what they are used for."""

from __future__ import annotations

import pytest
from mlflow.store.tracking.file_store import FileStore
from mlflow.tracking import MlflowClient

from autoinstrument.mlflow_store import trace_internals

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_answers_of_a_database(client: MlflowClient) -> None:
    run_id = str(client.create_run("0").info.run_id)
    tracking, experiment_id = client._tracking_client, "0"
    assert trace_internals.search_traces(tracking, experiment_id, run_id, 10, None) == ([], None)
    assert trace_internals.assessment_counts(tracking.store, experiment_id, run_id) in (None, ({}, {}))
    assert not trace_internals.reads_all_traces(tracking.store)
    assert trace_internals.reads_all_traces(object.__new__(FileStore))
