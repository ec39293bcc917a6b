"""A run's traces as a user finds them on the Task: a table, histograms of scores, curves, totals, and links."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mlflow.entities import AssessmentSource, Expectation, Feedback, TraceInfo, TraceLocation, TraceState
from mlflow.tracking import MlflowClient

from autoinstrument.clearml_api.session import Session
from autoinstrument.cli import main
from autoinstrument.mlflow_store.run_reader import open_run
from autoinstrument.records import Record, RunEnded, RunStarted, TracesChanged
from autoinstrument.settings import read_settings
from autoinstrument.transport.protocol import encode
from autoinstrument.worker.service import Worker
from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.harness import task_of
from tests.unit.conftest import sdk_task
from tests.unit.mirror.runs import PROCESS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
PERSON = AssessmentSource("HUMAN", "anna")


def a_run(client: MlflowClient) -> str:
    run_id = str(client.create_run("0", run_name="evaluation").info.run_id)
    client.set_terminated(run_id)
    return run_id


def add_trace(client: MlflowClient, run_id: str, number: int, **fields: Any) -> str:
    """Add a trace as MLflow's client sends it; this takes milliseconds, and needs no spans."""
    metadata = {
        "mlflow.sourceRun": run_id,
        "mlflow.trace.tokenUsage": json.dumps(
            {"input_tokens": 10, "output_tokens": number, "total_tokens": 10 + number}
        ),
        "mlflow.trace.cost": json.dumps({"total_cost": 0.25}),
    }
    info = TraceInfo(
        trace_id=f"tr-{run_id[:8]}-{number:05}",
        trace_location=TraceLocation.from_experiment_id("0"),
        request_time=1_700_000_000_000 + number,
        state=TraceState.ERROR if number == 2 else TraceState.OK,
        execution_duration=100 * (number + 1),
        trace_metadata=metadata,
        **{"request_preview": json.dumps({"question": f"q{number}"}), "response_preview": f'"r{number}"', **fields},
    )
    client._tracking_client.store.start_trace(info)
    return info.trace_id


def assess(client: MlflowClient, trace_id: str, assessment: Any, evaluation: str = "") -> Any:
    assessment.trace_id = trace_id
    assessment.metadata = {"mlflow.assessment.sourceRunId": evaluation} if evaluation else None
    return client._tracking_client.store.create_assessment(assessment)


def an_evaluation(client: MlflowClient) -> tuple[str, list[str]]:
    """Return a run with three traces, as `mlflow.genai.evaluate` leaves it, and their ids."""
    run_id = a_run(client)
    ids = [add_trace(client, run_id, number) for number in range(3)]
    for number, trace_id in enumerate(ids):
        assess(client, trace_id, Feedback("correct", value=number == 0, rationale="said https://u:pw@h/"), run_id)
        assess(client, trace_id, Feedback("length", value=2.5 * number), run_id)
        assess(client, trace_id, Expectation("expected_response", value=f"R{number}"), run_id)
    return run_id, ids


def autoinstrument(*arguments: str) -> Any:
    return json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)


def synced(*arguments: str) -> list[str]:
    return [outcome["result"] for outcome in autoinstrument("sync", *arguments)]


def differences(run_id: str) -> list[str]:
    found = autoinstrument("verify", run_id)["different"]
    return [difference["detail"] for run in found for difference in run["differences"]]


def frame_of(server: ClearMLServer, run_id: str) -> Any:
    """Return the table of a run's Task; the SDK keeps a copy of each address that it has read."""
    return sdk_task(task_of(server, run_id)["id"]).artifacts["MLflow trace table"].get(force_download=True)


def plots_of(task: Any) -> dict[tuple[str, str], Any]:
    return {(plot["metric"], plot["variant"]): json.loads(plot["plot_str"]) for plot in task.get_reported_plots()}


def test_a_user_reads_an_evaluation(server: ClearMLServer, client: MlflowClient) -> None:
    run_id, ids = an_evaluation(client)
    assert synced("--all") == ["synced"]
    assert differences(run_id) == []
    task = sdk_task(task_of(server, run_id)["id"])

    frame = frame_of(server, run_id)
    assert list(frame.index) == ids
    assert list(frame["correct/value"]) == [True, False, False]
    assert list(frame["length/value"]) == [0, 2.5, 5]
    assert list(frame["expected_response/value"]) == ["R0", "R1", "R2"]
    assert list(frame["latency_ms"]) == [100, 200, 300]
    assert list(frame["request"]) == [f'{{"question": "q{number}"}}' for number in range(3)]
    assert set(frame["correct/rationale"]) == {"said https://u:********@h/"}
    assert "expected_response/rationale" not in frame

    plots = plots_of(task)
    assert plots.keys() == {
        ("MLflow traces", "table"),
        ("MLflow assessments", "correct"),
        ("MLflow assessments", "length"),
    }
    (bars,) = plots["MLflow assessments", "correct"]["data"]
    assert (bars["x"], bars["y"]) == (["false", "true"], [2, 1])
    (bars,) = plots["MLflow assessments", "length"]["data"]
    assert (bars["x"], bars["y"]) == (["0", "2.5", "5"], [1, 1, 1])

    single = task.get_reported_single_values()
    assert single["total tokens (traces)"] == 33
    assert single["cost in USD (traces)"] == 0.75
    assert single["mean latency in ms (traces)"] == 200
    assert single["error rate (traces)"] == pytest.approx(1 / 3)
    curves = task.get_reported_scalars()["MLflow traces"]
    assert curves["latency (ms)"]["x"] == [1, 2, 3]
    assert curves["latency (ms)"]["y"] == [100, 200, 300]
    assert curves["error rate (so far)"]["y"] == pytest.approx([0, 0, 1 / 3])


def test_two_small_requests_notice_a_persons_feedback(
    server: ClearMLServer, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that has ended is looked at by the count of its assessments; traces are read only if that has changed."""
    run_id, ids = an_evaluation(client)
    a_run(client)
    assert synced("--all") == ["synced", "synced"]
    store, asked = type(client._tracking_client.store), list[str]()
    for name in ("search_traces", "query_trace_metrics"):
        call = getattr(store, name)
        monkeypatch.setattr(
            store, name, lambda *args, _call=call, _name=name, **more: (asked.append(_name), _call(*args, **more))[1]
        )
    assert synced("--all") == ["unchanged", "unchanged"]
    assert asked == ["query_trace_metrics"] * 2, "nothing for the run without traces"

    assess(client, ids[1], Feedback("helpful", value="no", rationale="too short", source=PERSON))
    assert differences(run_id) == ["their table is another"]
    assert sorted(synced("--all")) == ["synced", "unchanged"]
    frame = frame_of(server, run_id)
    assert list(frame["helpful/rationale"].fillna("")) == ["", "too short", ""]
    assert differences(run_id) == []
    assert synced("--all") == ["unchanged", "unchanged"]

    given = assess(client, ids[2], Feedback("length", value=100.0, source=PERSON))
    assert sorted(synced("--all")) == ["synced", "unchanged"]
    frame = frame_of(server, run_id)
    assert frame["length/value"][ids[2]] == "5; 100", "both the scorer's and the person's"
    client._tracking_client.store.delete_assessment(ids[2], given.assessment_id)
    assert sorted(synced("--all")) == ["synced", "unchanged"]
    assert differences(run_id) == []


def test_assessments_of_another_evaluation_of_the_same_traces_stay_there(
    server: ClearMLServer, client: MlflowClient
) -> None:
    first, ids = an_evaluation(client)
    second = a_run(client)
    client._tracking_client.store.link_traces_to_run(ids, second)
    assess(client, ids[0], Feedback("correct", value=False), second)
    assert synced("--all") == ["synced", "synced"]
    frames = [frame_of(server, run) for run in (first, second)]
    assert frames[0]["correct/value"][ids[0]] in (True, "True")
    assert list(frames[1].index) == ids
    assert frames[1]["correct/value"][ids[0]] in (False, "False")


def test_off_leaves_only_the_number(
    server: ClearMLServer, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later commands use the Task's settings, whatever their own environment has."""
    run_id, ids = an_evaluation(client)
    monkeypatch.setenv("AUTOINSTRUMENT_TRACES", "off")
    assert synced("--all") == ["synced"]
    monkeypatch.delenv("AUTOINSTRUMENT_TRACES")
    assess(client, ids[0], Feedback("helpful", value=True))
    assert synced("--all", "--full") == ["synced"]
    task = task_of(server, run_id)
    assert task["hyperparams"]["properties"]["mlflow_traces"]["value"] == "3"
    assert "q1" not in json.dumps([task, server.events(task["id"])])
    read = sdk_task(task["id"])
    assert not read.artifacts
    assert not read.get_reported_plots()
    assert not read.get_reported_single_values()
    assert differences(run_id) == []


def test_a_task_of_an_older_release_is_completed(server: ClearMLServer, client: MlflowClient) -> None:
    """It has the number of traces and nothing more."""
    run_id = a_run(client)
    assert synced("--all") == ["synced"]
    add_trace(client, run_id, 0)
    task = task_of(server, run_id)
    item = {"section": "properties", "name": "mlflow_traces", "value": "1"}
    Session().call("tasks.edit_hyper_params", task=task["id"], hyperparams=[item], force=True)
    assert "their table is missing" in differences(run_id)
    assert synced("--all") == ["synced"]
    assert differences(run_id) == []
    assert synced("--all") == ["unchanged"]


@contextmanager
def worker(folder: Path, monkeypatch: pytest.MonkeyPatch, *records: Record) -> Iterator[Callable[[Record], None]]:
    """Run a worker that has received records of a process; yield a function that sends more."""
    monkeypatch.setenv("AUTOINSTRUMENT_HOME", str(folder / "home"))
    process_end, worker_end = socket.socketpair()
    serving = Worker(folder, read_settings())
    serving.add(worker_end)
    thread = threading.Thread(target=serving.run, daemon=True)
    thread.start()
    with process_end:
        process_end.sendall(encode([PROCESS, *records]))
        yield lambda record: process_end.sendall(encode([record]))
    thread.join(60)
    assert not thread.is_alive()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def number_on_task(server: ClearMLServer, run_id: str) -> str:
    return str(task_of(server, run_id)["hyperparams"]["properties"].get("mlflow_traces", {}).get("value"))


def live(client: MlflowClient, run_id: str) -> RunStarted:
    return open_run(client.tracking_uri, run_id).run._replace(owned=True, resumed=False)


def test_a_live_runs_traces_are_read_when_it_has_ended_and_when_they_change_later(
    server: ClearMLServer, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training reports only that there are some; the worker sends the traces that `verify` reads."""
    run_id, ids = an_evaluation(client)
    ended = RunEnded(run_id, "FINISHED", 2, "", False)
    with worker(tmp_path, monkeypatch, live(client, run_id), TracesChanged(run_id)) as send:
        until(lambda: bool(server.tasks))
        assert number_on_task(server, run_id) == "None"
        send(ended)
        until(lambda: number_on_task(server, run_id) == "3" and task_of(server, run_id)["status"] == "completed")
        assess(client, ids[0], Feedback("helpful", value=True, source=PERSON))
        add_trace(client, run_id, 3)
        send(TracesChanged(run_id))
        until(lambda: number_on_task(server, run_id) == "4")
    frame = frame_of(server, run_id)
    assert list(frame["helpful/value"].fillna("")) == [True, "", "", ""]
    assert [detail for detail in differences(run_id) if "trace" in detail or "table" in detail] == []
    assert task_of(server, run_id)["status"] == "completed"


def test_a_process_that_only_assesses_has_the_traces_read(
    server: ClearMLServer, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ended long ago, in another process; its Task keeps its status."""
    run_id, ids = an_evaluation(client)
    assert synced("--all") == ["synced"]
    assess(client, ids[0], Feedback("helpful", value=True, source=PERSON))
    run = open_run(client.tracking_uri, run_id).run
    with worker(tmp_path, monkeypatch, run, TracesChanged(run_id)):
        until(lambda: "helpful" in json.dumps(task_of(server, run_id)))
    assert differences(run_id) == []
    assert len(server.tasks) == 1


def test_deleted_traces_leave_an_empty_table(server: ClearMLServer, client: MlflowClient) -> None:
    run_id, ids = an_evaluation(client)
    assert synced("--all") == ["synced"]
    client.delete_traces("0", trace_ids=ids)
    assert "3 instead of 0" in differences(run_id)
    assert synced("--all") == ["synced"]
    assert differences(run_id) == []
    assert len(frame_of(server, run_id)) == 0
    assert synced("--all") == ["unchanged"]


@pytest.mark.may_report("recorded, `autoinstrument sync` completes it later")
def test_traces_that_cannot_be_read_are_left_to_sync(
    server: ClearMLServer, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Task ends anyway, and the journal stays."""
    run_id, _ = an_evaluation(client)
    run = live(client, run_id)
    database, away = tmp_path / "mlflow.db", tmp_path / "away.db"
    database.rename(away)
    with worker(tmp_path, monkeypatch, run, TracesChanged(run_id), RunEnded(run_id, "FINISHED", 2, "", False)):
        until(lambda: bool(server.tasks) and task_of(server, run_id)["status"] == "completed")
    away.rename(database)
    assert number_on_task(server, run_id) == "None"
    assert synced() == ["synced"]
    assert number_on_task(server, run_id) == "3"
    assert differences(run_id) == []


def test_a_file_server_that_is_away_delays_the_table_alone(server: ClearMLServer, client: MlflowClient) -> None:
    run_id, _ = an_evaluation(client)
    server.faults.add(Fault(endpoints="files.upload", status=503))
    (outcome,) = autoinstrument("sync", "--all")
    assert (outcome["result"], outcome["error"]) == ("failed", "clearml_files"), outcome["detail"]
    task = sdk_task(task_of(server, run_id)["id"])
    assert ("MLflow traces", "table") in plots_of(task)
    assert not task.artifacts
    server.faults.clear()
    until(lambda: synced("--all") == ["synced"])  # this thread, which is that of the next command, tries a bit later
    assert differences(run_id) == []
