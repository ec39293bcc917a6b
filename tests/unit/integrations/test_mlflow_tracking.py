"""Calls of MLflow's own client, over a real store, become records; results and exceptions are MLflow's."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from autoinstrument.guard import own_calls
from autoinstrument.records import (
    EventsDropped,
    MetricsLogged,
    ParamsLogged,
    RunDeleted,
    RunEnded,
    RunRestored,
    RunStarted,
    TagDeleted,
    TagsSet,
)
from tests.unit.integrations.conftest import Recorder


def test_a_run_that_is_created_is_introduced(client: Any, run_id: str, recorder: Recorder) -> None:
    (started,) = recorder.of_type(RunStarted)
    assert (started.run_id, started.run_name, started.experiment_name) == (run_id, "one", "Default")
    assert (started.tags["a"], started.owned, started.resumed) == ("b", True, False)


def test_parameters_keep_their_types(client: Any, run_id: str, recorder: Recorder) -> None:
    client.log_param(run_id, "lr", 0.1)
    client.log_batch(run_id, params=[Param("depth", "3")])
    assert recorder.of_type(ParamsLogged) == [
        ParamsLogged(run_id, [("lr", "0.1", "float")]),
        ParamsLogged(run_id, [("depth", "3", "")]),
    ]


def test_a_batch_is_one_record_of_each_kind(client: Any, run_id: str, recorder: Recorder) -> None:
    metrics = [Metric("loss", 1 / 3, 1_600_000_000_000 + step, step) for step in range(3)]
    client.log_batch(run_id, metrics=metrics, params=[Param("p", "1")], tags=[RunTag("t", "2")])
    points = [("loss", 1 / 3, 1_600_000_000_000 + step, step) for step in range(3)]
    assert recorder.records[1:] == [
        ParamsLogged(run_id, [("p", "1", "")]), MetricsLogged(run_id, points), TagsSet(run_id, {"t": "2"})
    ]  # fmt: skip


def test_a_value_that_a_store_may_change_is_read_back(client: Any, run_id: str, recorder: Recorder) -> None:
    client.set_tag(run_id, "note", "x" * 600)
    client.log_param(run_id, "blank", " a ")
    assert recorder.reads.keys() == {(run_id, "tags"), (run_id, "params")}
    assert recorder.reads[run_id, "params"]() == ParamsLogged(run_id, [("blank", " a ", "")])


def test_the_end_has_the_time_that_mlflow_stores(client: Any, run_id: str, recorder: Recorder) -> None:
    client.set_terminated(run_id, "KILLED")
    (ended,) = recorder.of_type(RunEnded)
    info = client.get_run(run_id).info
    assert (ended.status, ended.end_time_ms, ended.error) == (info.status, info.end_time, "")


def test_a_run_that_fails_has_the_traceback_that_is_being_handled(client: Any, run_id: str, recorder: Recorder) -> None:
    try:
        raise RuntimeError("diverged")
    except RuntimeError:
        client.set_terminated(run_id, "FAILED")
    (ended,) = recorder.of_type(RunEnded)
    assert ended.error.endswith("RuntimeError: diverged\n")


def test_tags_and_deletion(client: Any, run_id: str, recorder: Recorder) -> None:
    client.set_tag(run_id, "t", 1)
    client.delete_tag(run_id, "t")
    client.delete_run(run_id)
    client.restore_run(run_id)
    client.update_run(run_id, status="RUNNING", name="two")
    assert recorder.records[1:] == [
        TagsSet(run_id, {"t": "1"}), TagDeleted(run_id, "t"), RunDeleted(run_id), RunRestored(run_id),
        TagsSet(run_id, {"mlflow.runName": "two"}),
    ]  # fmt: skip


def test_a_call_that_mlflow_refuses_raises_mlflows_error_and_makes_no_record(
    client: Any, run_id: str, recorder: Recorder
) -> None:
    client.log_param(run_id, "lr", 1)
    before = list(recorder.records)
    with pytest.raises(MlflowException, match="Changing param values is not allowed") as raised:
        client.log_param(run_id, "lr", 2)
    assert recorder.records == before
    frames = traceback.extract_tb(raised.value.__traceback__)
    assert not [frame for frame in frames if "autoinstrument/integrations" in frame.filename.replace("\\", "/")]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 keeps the frame that raises again")
@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.set_terminated("unknown"),
        lambda client: client.update_run("unknown", status="FAILED"),
        lambda client: client.log_metric("unknown", "loss", 0.5),
        lambda client: client.log_batch("unknown", [], [], [RunTag("a", "b")]),
        lambda client: client.log_artifact("unknown", __file__),
        lambda client: client.delete_run("unknown"),
    ],
)
def test_an_error_of_mlflows_shows_no_frame_of_the_agents(client: Any, call: Callable[[Any], object]) -> None:
    with pytest.raises(MlflowException) as raised:
        call(client)
    error: BaseException | None = raised.value
    while error is not None:
        assert not [each for each in traceback.extract_tb(error.__traceback__) if "autoinstrument/int" in each.filename]
        error = error.__context__


def test_a_batch_that_may_be_stored_in_part_is_read_from_the_store(
    client: Any, run_id: str, recorder: Recorder
) -> None:
    client.log_param(run_id, "lr", 1)
    with pytest.raises(MlflowException):
        client.log_batch(run_id, params=[Param("lr", "2"), Param("new", "1")])
    assert recorder.records[-1] == EventsDropped(run_id, 0)
    stored = client.get_run(run_id).data.params
    assert recorder.reads.keys() == {(run_id, "params")}
    assert recorder.reads[run_id, "params"]() == ParamsLogged(run_id, [(key, kept, "") for key, kept in stored.items()])


def test_the_agents_own_calls_make_no_records(client: Any, run_id: str, recorder: Recorder) -> None:
    before = list(recorder.records)
    with own_calls():
        client.log_metric(run_id, "loss", 1.0)
        client.set_tag(run_id, "clearml.task_id", "1")
        client.set_terminated(run_id)
    assert recorder.records == before
