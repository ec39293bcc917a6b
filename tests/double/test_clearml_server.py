"""The double as its users see it: the unmodified SDK, the faults, the pages, the Python API."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import requests

from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.processes import PATIENCE_S, wait_for

_ROOT = Path(__file__).parents[2]


@pytest.fixture
def server() -> Iterator[ClearMLServer]:
    with ClearMLServer() as running:
        yield running


class _Api:
    """Calls without an SDK."""

    def __init__(self, server: ClearMLServer) -> None:
        self.url = server.api_url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.auth = (server.credentials.access_key, server.credentials.secret_key)

    def __call__(self, endpoint: str, timeout: float = PATIENCE_S, **body: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.session.post(f"{self.url}/{endpoint}", json=body, timeout=timeout).json()
        return answer

    def task(self, **fields: Any) -> str:
        return str(self("tasks.create", name="a task", type="training", **fields)["data"]["id"])


@pytest.fixture
def api(server: ClearMLServer) -> _Api:
    return _Api(server)


def _run(server: ClearMLServer, folder: Path, script: str) -> str:
    """Run a script against the server, with a reporter thread: the SDK's reporter process takes 12 s to close."""
    configuration = folder / "clearml.conf"
    configuration.write_text("sdk { development { report_use_subprocess: false, vcs_repo_detect_async: false } }")
    file = folder / "script.py"
    file.write_text(script)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("CLEARML_", "TRAINS_"))}
    environ = {**kept, **server.environ, "CLEARML_CONFIG_FILE": str(configuration)}
    done = subprocess.run(
        [sys.executable, str(file)],
        env=environ,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_script_with_task_init_ends_completed_with_its_scalars_artifact_and_console(
    server: ClearMLServer, tmp_path: Path
) -> None:
    output = _run(
        server,
        tmp_path,
        """
from clearml import Task
task = Task.init("team/train", "a run", auto_resource_monitoring=False)
task.connect({"lr": 0.1}, name="cfg")
task.set_user_properties(owner="me")
for i in range(20):
    task.get_logger().report_scalar("loss", "train", 1 / (i + 1), i)
task.get_logger().report_single_value("final", 0.5)
task.upload_artifact("settings", {"a": 1}, wait_on_upload=True)
print("hello from the script")
task.close()
""",
    )
    (task,) = server.tasks
    assert (task["status"], task["status_reason"], task["last_iteration"]) == ("completed", "completed", 19)
    assert server.project_name(task["project"]) == "team/train"
    assert task["hyperparams"]["cfg"]["lr"]["value"] == "0.1"
    assert task["hyperparams"]["properties"]["owner"]["value"] == "me"
    points = server.scalars(task["id"])["loss"]["train"]
    assert [(iteration, value) for iteration, value, _ in points] == [(i, 1 / (i + 1)) for i in range(20)]
    assert "hello from the script\n" in server.console(task["id"])
    (artifact,) = task["execution"]["artifacts"]
    assert artifact["uri"].startswith(server.files_url)
    assert json.loads(server.files[unquote(artifact["uri"].removeprefix(server.files_url + "/"))]) == {"a": 1}
    assert not [request for request in server.requests if request.status != 200]
    (address,) = [line.split()[-1] for line in output.splitlines() if "results page" in line]
    with requests.Session() as browser:
        page = browser.get(address, timeout=PATIENCE_S)
        assert page.status_code == 200
        assert "hello from the script" in page.text
        assert f'<a href="{artifact["uri"]}">' in page.text
        assert browser.get(artifact["uri"], timeout=PATIENCE_S).json() == {"a": 1}


def test_task_create_and_api_client_work_from_the_sdk(server: ClearMLServer, tmp_path: Path) -> None:
    output = _run(
        server,
        tmp_path,
        """
import json
from clearml import Task
from clearml.backend_api.services import events
from clearml.backend_api.session.client import APIClient

task = Task.create("team/train", "made", repo="https://git.example.com/r.git", script="train.py", packages=["numpy"])
task.mark_started()
task.get_logger().report_scalar("acc", "val", 0.5, 3)
task.upload_artifact("link", "https://example.com/model.pt")
task.add_tags(["b", "a"])
task.flush(wait_for_uploads=True)
task.mark_completed()

client = APIClient()
made = client.tasks.create(name="by client", type="training", hyperparams={
    "MLflow": {"lr": {"section": "MLflow", "name": "lr", "value": "0.1"}}})
client.tasks.started(task=made.id)
event = events.MetricsScalarEvent(metric="m", variant="v", value=0.25, iter=1, timestamp=1700000000000, task=made.id)
log = events.TaskLogEvent(msg="line", level="info", worker="w", timestamp=1700000000000, task=made.id)
client.session.send(events.AddBatchRequest(requests=[events.AddRequest(event), events.AddRequest(log)]))
client.tasks.edit_hyper_params(task=made.id, hyperparams=[dict(section="properties", name="run", value="x")])
client.tasks.failed(task=made.id, status_reason="why", status_message="what")
refused = ""
try:
    client.tasks.completed(task=made.id)
except Exception as error:
    refused = str(error)
print(json.dumps([task.id, made.id, refused, Task.get_task(task_id=task.id).get_status()]))
""",
    )
    created, made, refused, status = json.loads(output.splitlines()[-1])
    assert status == "completed"
    assert server.task(created)["tags"] == ["a", "b"]
    assert server.task(created)["script"]["requirements"]["pip"].startswith("numpy")
    assert server.task(created)["execution"]["artifacts"][0]["uri"] == "https://example.com/model.pt"
    assert server.scalars(created)["acc"]["val"][0][:2] == (3, 0.5)
    assert server.scalars(made) == {"m": {"v": [(1, 0.25, 1700000000000)]}}
    assert server.console(made) == "line\n"
    task = server.task(made)
    assert set(task["hyperparams"]) == {"MLflow", "properties"}
    assert (task["status"], task["status_reason"], task["status_message"]) == ("failed", "why", "what")
    assert "400/110" in refused


def test_a_revoked_key_is_refused_and_its_token_lives_on_unless_tokens_are_revoked_too(
    server: ClearMLServer, api: _Api
) -> None:
    token = api("auth.login")["data"]["token"]
    server.credentials.revoke()
    assert api("auth.login")["meta"]["result_subcode"] == 22
    bearer = {"Authorization": f"Bearer {token}"}
    assert requests.get(f"{api.url}/users.get_current_user", headers=bearer, timeout=PATIENCE_S).status_code == 200
    server.credentials.revoke(tokens=True)
    assert requests.get(f"{api.url}/users.get_current_user", headers=bearer, timeout=PATIENCE_S).status_code == 401
    server.credentials.restore()
    assert api("auth.login")["meta"]["result_code"] == 200


def test_a_status_fault_hits_matching_endpoints_for_the_next_n_requests(server: ClearMLServer, api: _Api) -> None:
    server.faults.add(Fault("tasks.*", times=2, status=503, retry_after=3))
    assert api("debug.ping")["meta"]["result_code"] == 200
    for _ in range(2):
        answer = api.session.post(f"{api.url}/tasks.get_all", json={}, timeout=PATIENCE_S)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "3")
    assert api("tasks.get_all")["data"] == {"tasks": []}
    assert [request.status for request in server.calls("tasks.get_all")] == [503, 503, 200]


def test_an_internal_error_comes_in_an_envelope(server: ClearMLServer, api: _Api) -> None:
    fault = server.faults.add(Fault(status=500))
    assert api("debug.ping")["meta"]["result_code"] == 500
    server.faults.remove(fault)
    assert api("debug.ping")["meta"]["result_code"] == 200


def test_latency_delays_an_answer(server: ClearMLServer, api: _Api) -> None:
    server.faults.add(Fault("debug.ping", latency=0.3, times=1))
    begun = time.monotonic()
    api("debug.ping")
    assert time.monotonic() - begun >= 0.3


@pytest.mark.parametrize(("when", "made"), [("before", 0), ("after", 1)])
def test_a_dropped_connection_leaves_the_client_without_an_answer(
    server: ClearMLServer, api: _Api, when: Any, made: int
) -> None:
    server.faults.add(Fault("tasks.create", times=1, action="drop", when=when))
    with pytest.raises(requests.ConnectionError):
        api.task()
    assert len(server.tasks) == made
    assert server.calls("tasks.create")[0].status == 0
    api.task()
    assert len(server.tasks) == made + 1


def test_a_hung_request_goes_on_when_faults_are_cleared(server: ClearMLServer, api: _Api) -> None:
    server.faults.add(Fault("tasks.create", action="hang"))
    with pytest.raises(requests.ReadTimeout):
        api("tasks.create", timeout=0.2, name="a task", type="training")
    assert server.tasks == []
    server.faults.clear()
    wait_for(lambda: server.tasks)
    assert len(server.tasks) == 1


def test_closing_the_server_ends_hung_requests_and_their_threads() -> None:
    before = threading.active_count()
    failures: list[requests.RequestException] = []

    def wait_for_answer(api: _Api) -> None:
        try:
            api("debug.ping", timeout=PATIENCE_S)
        except requests.RequestException as error:
            failures.append(error)

    with ClearMLServer() as server:
        server.faults.add(Fault(action="hang"))
        client = threading.Thread(target=wait_for_answer, args=[_Api(server)])
        client.start()
        time.sleep(0.2)
    client.join(PATIENCE_S)
    assert len(failures) == 1
    wait_for(lambda: threading.active_count() <= before)


def test_a_closed_server_refuses_connections_and_opens_again_with_its_data(server: ClearMLServer, api: _Api) -> None:
    address, task = server.api_url, api.task()
    server.close()
    with pytest.raises(requests.ConnectionError):
        api("debug.ping")
    server.start()
    assert server.api_url == address
    assert api("tasks.get_by_id", task=task)["data"]["task"]["id"] == task


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def test_requests_over_15_mib_and_documents_over_16_mb_are_refused(server: ClearMLServer, api: _Api) -> None:
    task = api.task()
    big = {"c": {"name": "c", "value": "x" * (14 * 1024 * 1024)}}
    assert api("tasks.edit", task=task, configuration=big)["meta"]["result_code"] == 200
    refused = api("tasks.edit", task=task, comment="x" * (3 * 1024 * 1024))
    assert refused["meta"]["result_code"] == 500
    assert "comment" not in server.task(task)
    answer = api.session.post(f"{api.url}/tasks.edit", json={"task": task, "comment": "x" * 2**24}, timeout=PATIENCE_S)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"comment": "a\udcff"}, "surrogates not allowed"),
        ({"runtime": {"\udcff": 1}}, "surrogates not allowed"),
        ({"runtime": {"a\0b": 1}}, "NULL byte"),
        ({"runtime": {"a": 2**63}}, "8-byte ints"),
        ({"runtime": {"a": nested(120)}}, "nested"),
    ],
)
def test_values_that_bson_cannot_hold_are_refused(
    server: ClearMLServer, api: _Api, fields: dict[str, Any], text: str
) -> None:
    """The page `tests/clearml_server/REFUSALS.md` lists it."""
    task = api.task()
    for endpoint, more in (("tasks.edit", {"task": task}), ("tasks.create", {"name": "one", "type": "training"})):
        meta = api(endpoint, **more, **fields)["meta"]
        assert (meta["result_code"], meta["result_subcode"]) == (500, 0)
        assert text in meta["result_msg"]
    assert [known["id"] for known in server.tasks] == [task]
    assert "comment" not in server.task(task)
    assert api("tasks.edit", task=task, comment="a\0b", runtime={"a": nested(90), "b": 2**63 - 1})["data"]["updated"]


def test_parameters_that_fill_a_task_are_refused(server: ClearMLServer, api: _Api) -> None:
    task = api.task()
    for number in range(3):
        items = [{"section": "s", "name": f"{number}-{i}", "value": "x" * 700_000} for i in range(10)]
        meta = api("tasks.edit_hyper_params", task=task, hyperparams=items)["meta"]
        assert meta["result_code"] == (500 if number == 2 else 200)
    assert "after update is larger" in meta["result_msg"]
    assert len(server.task(task)["hyperparams"]["s"]) == 20


def test_the_index_refuses_events_that_are_not_valid_text(server: ClearMLServer, api: _Api) -> None:
    task = api.task()
    for bad in ({"type": "log", "msg": "a\udcff"}, {"type": "plot", "metric": "\udcff", "plot_str": "{}"}):
        meta = api("events.add", task=task, **bad)["meta"]
        assert (meta["result_code"], meta["result_subcode"]) == (500, 100)
    assert server.events(task) == []


def test_events_sent_again_overwrite_points_and_duplicate_logs(server: ClearMLServer, api: _Api) -> None:
    task = api.task()
    point: dict[str, Any] = {"task": task, "type": "training_stats_scalar", "metric": "m", "variant": "v", "iter": 1}
    for value in (1.0, 3.0):
        api("events.add", **point, value=value, timestamp=10)
        api("events.add", task=task, type="log", msg="line", timestamp=20)
    assert server.scalars(task) == {"m": {"v": [(1, 3.0, 10)]}}
    assert server.console(task) == "line\nline\n"
    (metrics,) = next(iter(server.task(task)["last_metrics"].values())).values()
    assert (metrics["count"], metrics["mean_value"], metrics["value"]) == (2, 2.0, 3.0)


def test_tests_get_copies_of_the_data(server: ClearMLServer, api: _Api) -> None:
    task = api.task()
    server.task(task)["tags"].append("not stored")
    server.tasks[0]["status"] = "not stored"
    assert (server.task(task)["tags"], server.task(task)["status"]) == ([], "created")


def test_a_task_page_shows_everything_escaped_and_links_addresses(server: ClearMLServer, api: _Api) -> None:
    project = api("projects.create", name="team/<b>train", description="")["data"]["id"]
    parent = api.task()
    parameter = {"section": "Args", "name": "lr", "value": "0.1<i>"}
    address = {"section": "properties", "name": "run", "value": "https://mlflow.example.com/#/r?a=1&b=2"}
    task = api.task(
        project=project,
        parent=parent,
        tags=["<tag>"],
        comment="<script>alert(1)</script>",
        hyperparams={"Args": {"lr": parameter}, "properties": {"run": address}},
        configuration={"conf": {"name": "conf", "value": "a = <1>"}},
        script={"repository": "https://git.example.com/r.git", "diff": "-<old>", "requirements": {"pip": "numpy<3"}},
    )
    api("tasks.started", task=task)
    for number in range(5):
        point: dict[str, Any] = {"type": "training_stats_scalar", "metric": "loss", "variant": "<v>", "iter": number}
        api("events.add", task=task, **point, value=float(number))
    api("events.add", task=task, type="log", msg="console <line>")
    artifacts = [
        {"key": "web", "type": "custom", "uri": "https://example.com/x"},
        {"key": "local", "type": "custom", "uri": "javascript:alert(1)"},
    ]
    api("tasks.add_or_update_artifacts", task=task, artifacts=artifacts)
    api("tasks.failed", task=task, status_reason="reason <r>", status_message="message")
    pages = [
        requests.get(f"{server.web_url}/projects/{where}/{task}{tab}", timeout=PATIENCE_S).text
        for where in (f"{project}/experiments", f"{project}/tasks", "*/experiments")
        for tab in ("", "/execution", "/output/log", "/info-output/metrics/scalar")
    ]
    assert len(set(pages)) == 1
    page = pages[0]
    for text in (
        "failed",
        "reason &lt;r&gt; - message",
        "&lt;tag&gt;",
        "0.1&lt;i&gt;",
        "a = &lt;1&gt;",
        "-&lt;old&gt;",
    ):
        assert text in page
    for text in ("numpy&lt;3", "console &lt;line&gt;", "loss / &lt;v&gt;: 4", "<polyline", "javascript:alert(1)"):
        assert text in page
    assert "<script>" not in page
    assert '<a href="https://mlflow.example.com/#/r?a=1&amp;b=2">' in page
    assert '<a href="https://example.com/x">' in page
    assert f'/experiments/{parent}/execution">' in page
    assert 'href="javascript' not in page
    index = requests.get(server.web_url, timeout=PATIENCE_S).text
    assert "team/&lt;b&gt;train" in index
    assert f"/experiments/{task}/" in index
    assert requests.get(f"{server.web_url}/projects/{project}", timeout=PATIENCE_S).status_code == 200
    assert requests.get(f"{server.web_url}/projects/*/experiments/none", timeout=PATIENCE_S).status_code == 404


def test_the_server_can_be_started_by_hand_and_ends_on_ctrl_c() -> None:
    command = [sys.executable, "-m", "tests.clearml_server", "--port", "0"]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(6)]
        environ = dict(line.removeprefix("export ").rstrip().split("=", 1) for line in lines)
        assert requests.get(environ["CLEARML_API_HOST"] + "/debug.ping", timeout=PATIENCE_S).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE_S) == 0


def test_a_model_has_events_of_its_own(api: _Api) -> None:
    """Points only, until it is ready, and none of a Task's: as clearml-server's `add_events` has it."""
    task = api.task()
    model = api("models.create", name="model", uri="s3://bucket/m", task=task, ready=False)["data"]["id"]
    point = {"type": "training_stats_scalar", "metric": "loss", "variant": "a", "value": 1.0, "iter": 3}
    assert api("events.add", **point, model=model, model_event=True)["data"]["added"] == 1
    curves = api("events.scalar_metrics_iter_histogram", task=model, model_events=True)["data"]
    assert curves == {"loss": {"a": {"name": "a", "x": [3], "y": [1.0]}}}
    held = api("models.get_by_id", model=model)["data"]["model"]
    assert held["last_iteration"] == 3
    assert [last["count"] for variants in held["last_metrics"].values() for last in variants.values()] == [1]
    assert api("events.scalar_metrics_iter_histogram", task=model)["meta"]["result_subcode"] == 101
    assert api("events.scalar_metrics_iter_histogram", task=task, model_events=True)["meta"]["result_subcode"] == 201
    for event, reason in (
        ({"type": "log", "msg": "x", "task": model, "model_event": True}, "Task log events are not supported"),
        ({**point, "task": model}, f"Invalid task id {model}"),
        ({**point, "task": task, "model_event": True}, f"Invalid model id {task}"),
    ):
        refused = api("events.add", **event)["meta"]
        assert (refused["result_subcode"], reason in refused["result_msg"]) == (131, True)
    api("models.set_ready", model=model, publish_task=False)
    assert api("events.add", **point, task=model, model_event=True)["meta"]["result_subcode"] == 131
    assert api("events.add", **point, task=model, model_event=True, allow_locked=True)["data"]["added"] == 1


def test_queries_of_triggers(api: _Api) -> None:
    """As `TriggerScheduler` asks: for a metric beyond a threshold, and for what has changed since a moment."""
    low, high = api.task(), api.task()
    for task, loss in ((low, 0.2), (high, 0.8)):
        api("tasks.started", task=task)
        event = {"type": "training_stats_scalar", "metric": "val", "variant": "loss", "value": loss, "iter": 1}
        api("events.add", **event, task=task, timestamp=1_700_000_000_000)
    ((metric, variants),) = api("tasks.get_by_id", task=low)["data"]["task"]["last_metrics"].items()
    field = f"last_metrics.{metric}.{next(iter(variants))}.min_value"

    def found(**query: Any) -> list[str]:
        return [task["id"] for task in api("tasks.get_all", only_fields=["id"], **query)["data"]["tasks"]]

    assert found(**{field: [None, 0.5]}) == found(**{field: [0.1, 0.5]}) == [low]
    assert found(**{field: [0.5, None]}) == [high]
    assert api("tasks.get_all", **{field: [0.5]})["meta"]["result_subcode"] == 12
    changed = api("tasks.get_by_id", task=high)["data"]["task"]["last_change"]
    assert found(last_change=f">={changed}") == [high]
    assert found(_or_={"fields": ["last_update", "last_change"], "datetime": [f">{changed}"]}) == []
