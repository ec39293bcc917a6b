"""Single points of MLflow's own client, over a real store, become records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autoinstrument.integrations import mlflow_metrics
from autoinstrument.records import MetricsLogged, RunStarted
from tests.unit.integrations.conftest import Recorder


@pytest.mark.parametrize("arguments", [("loss", 0.5), ("loss", 0.5, None, 3), ("loss", 0.5, 1_600_000_000_000, 3)])
def test_a_point_has_the_time_that_mlflow_stores(
    client: Any, run_id: str, recorder: Recorder, arguments: tuple[Any, ...]
) -> None:
    client.log_metric(run_id, *arguments)
    (point,) = client.get_metric_history(run_id, "loss")
    assert recorder.of_type(MetricsLogged) == [MetricsLogged(run_id, [("loss", 0.5, point.timestamp, point.step)])]


@pytest.mark.swallows("mirroring log_metric: RuntimeError: ours")
def test_an_error_of_the_agents_never_reaches_the_caller(
    client: Any, run_id: str, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(recorder, "post", fail)
    client.log_metric(run_id, "loss", 1.0)
    assert client.get_run(run_id).data.metrics == {"loss": 1.0}


def test_a_run_of_another_process_is_introduced_when_it_is_written_to(
    client: Any, run_id: str, recorder: Recorder
) -> None:
    recorder.runs.clear()
    recorder.records.clear()
    client.log_metric(run_id, "loss", 1.0)
    assert [type(record) for record in recorder.records] == [RunStarted, MetricsLogged]
    assert (recorder.records[0].owned, recorder.runs) == (False, [run_id])


@pytest.mark.parametrize("value", [3, True, np.float32(0.5), np.array([0.5])], ids=["int", "bool", "scalar", "array"])
def test_a_value_becomes_the_float_that_mlflow_stores(
    client: Any, run_id: str, recorder: Recorder, value: object
) -> None:
    client.log_metric(run_id, "loss", value)
    ((point,),) = (record.points for record in recorder.of_type(MetricsLogged))
    assert (point[1], type(point[1])) == (client.get_run(run_id).data.metrics["loss"], float)


def test_arguments_by_name(client: Any, run_id: str, recorder: Recorder) -> None:
    client.log_metric(key="loss", run_id=run_id, step=3, value=0.5, timestamp=1)
    assert recorder.of_type(MetricsLogged) == [MetricsLogged(run_id, [("loss", 0.5, 1, 3)])]


def test_arguments_of_a_later_version_are_passed_on(client: Any, run_id: str, recorder: Recorder) -> None:
    more = (run_id, "loss", 1, 2, 3, True, None, None, None, "new", "newer")
    assert mlflow_metrics.log_metric(lambda *args, **_: args, client, more, {}) == more
    assert recorder.of_type(MetricsLogged) == [MetricsLogged(run_id, [("loss", 1.0, 2, 3)])]
    recorder.records.clear()
    call = mlflow_metrics.log_metric(lambda *args, **more: (args, more), client, (run_id, "loss", 1, 2, 3), {"new": 4})
    assert call == ((run_id, "loss", 1, 2, 3), {"new": 4})
    assert recorder.of_type(MetricsLogged) == [MetricsLogged(run_id, [("loss", 1.0, 2, 3)])]
