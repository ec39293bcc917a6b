"""`verify` finds no difference after a live run, and names each planted difference with its repair."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from mlflow.tracking import MlflowClient

from autoinstrument.clearml_api.session import Session
from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end import test_artifacts, test_models, test_sync
from tests.end_to_end.harness import Place
from tests.end_to_end.processes import wait_for

RUN = """
import mlflow, mlflow.pyfunc
class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input
with mlflow.start_run(run_name="planted", description="a note"):
    mlflow.log_params({"lr": 0.1, "depth": 3})
    mlflow.set_tag("team", "vision")
    for step in range(50):
        mlflow.log_metric("train/loss", 1 / (step + 1), step=step)
        mlflow.log_metric("acc", step / 50, step=step)
    mlflow.log_text("all is well", "notes/report.txt")
    mlflow.log_text("more of it", "notes/more.txt")
    mlflow.pyfunc.log_model(python_model=Model(), name="model")
"""


def test_a_live_run_of_everything_is_clean(own_place: Place, own_server: ClearMLServer) -> None:
    for script in (test_models.SCRIPT, test_artifacts.SCRIPT, test_sync.SCRIPT + "    raise ValueError('lost')\n"):
        own_place.run(script)
    wait_for(lambda: not own_place.workers())
    verified = own_place.command("verify")
    assert verified.code == 0, verified.stdout
    before = [(task["id"], task["status"], task.get("status_reason"), task["name"]) for task in own_server.tasks]
    synced = own_place.command("sync", "--all")
    assert synced.code == 0, synced.stdout
    after = [(task["id"], task["status"], task.get("status_reason"), task["name"]) for task in own_server.tasks]
    assert after == before
    again = own_place.command("verify")
    assert again.code == 0, again.stdout


class Planted(NamedTuple):
    """The APIs by which a Task and its run are changed."""

    call: Callable[..., dict[str, Any]]
    add_events: Callable[[list[dict[str, Any]]], dict[str, Any]]
    client: MlflowClient
    run_id: str
    task: dict[str, Any]

    def edit(self, **fields: Any) -> None:
        self.call("tasks.edit", task=self.task["id"], force=True, **fields)

    def parameters(self, section: str, name: str, value: str | None) -> None:
        """Change a hyperparameter, or take it away."""
        sections = json.loads(json.dumps(self.task["hyperparams"]))
        if value is None:
            del sections[section][name]
        else:
            sections[section][name] = {"section": section, "name": name, "value": value}
        self.edit(hyperparams=sections)

    @property
    def model_id(self) -> str:
        return str(self.task["models"]["output"][0]["model"])

    def artifact(self, key: str, **fields: Any) -> None:
        """Change an artifact, or take it away."""
        execution = json.loads(json.dumps(self.task["execution"]))
        (entry,) = [entry for entry in execution["artifacts"] if entry["key"] == key]
        if fields:
            entry.update(fields)
        else:
            execution["artifacts"].remove(entry)
        self.edit(execution=execution)


def _point(planted: Planted) -> None:
    point = {"type": "training_stats_scalar", "iter": 7, "timestamp": 1_600_000_000_000, "value": 99.0}
    planted.add_events([{**point, "task": planted.task["id"], "metric": "train", "variant": "loss"}])


Plant = tuple[str, str, Callable[[Planted], Any]]
"""The name that `verify` must give it, words of its message, and the function that plants it."""

PLANTED: dict[str, list[Plant]] = {
    "missing": [
        ("parameter", "missing: lr", lambda it: it.parameters("MLflow", "lr", None)),
        ("tag", "missing: team", lambda it: it.parameters("MLflow tags", "team", None)),
        ("metric", "acc: 1 points are missing, the first at step 50",
         lambda it: it.client.log_metric(it.run_id, "acc", 1.0, step=50)),
        ("artifact", "notes/report.txt: missing", lambda it: it.artifact("notes/report.txt")),
        ("model", "model: missing", lambda it: it.edit(models={"input": [], "output": []})),
        ("note", "comment", lambda it: it.edit(comment="")),
        ("link", "clearml.task_id", lambda it: it.client.delete_tag(it.run_id, "clearml.task_id")),
    ],
    "other": [
        ("parameter", "other: depth", lambda it: it.parameters("MLflow", "depth", "4")),
        ("tag", "other: team", lambda it: it.parameters("MLflow tags", "team", "nlp")),
        ("metric", "train/loss: 1 points have other values", _point),
        ("artifact", "notes/report.txt: other content", lambda it: it.artifact("notes/report.txt", hash="0" * 64)),
        ("model", "model: other", lambda it: it.call("models.edit", model=it.model_id, name="other")),
        ("name", "'other'", lambda it: it.edit(name="other")),
        ("note", "comment", lambda it: it.edit(comment="other")),
        ("status", "in_progress instead of completed",
         lambda it: it.call("tasks.started", task=it.task["id"], force=True)),
        ("tag", "no longer in MLflow: x", lambda it: it.parameters("MLflow tags", "x", "y")),
        ("artifact", "notes/more.txt: links to", lambda it: it.artifact("notes/more.txt", uri="file:///elsewhere")),
        ("link", "property", lambda it: it.parameters("properties", "mlflow_run_id", None)),
        ("link", "clearml.state", lambda it: it.client.set_tag(it.run_id, "clearml.state", "pending")),
    ],
    "gone": [("task", "gone", lambda it: it.call("tasks.delete", task=it.task["id"], force=True))],
}  # fmt: skip


@pytest.mark.slow
def test_each_planted_difference_is_named_and_repaired(
    own_place: Place, own_server: ClearMLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each difference that the server's own API has planted in the Task is named, and its repair works."""
    for name, value in own_server.environ.items():
        monkeypatch.setenv(name, value)
    assert own_place.run(RUN).code == 0
    wait_for(lambda: not own_place.workers())
    run_id, session = own_place.the_run().info.run_id, Session()
    assert own_server.tasks[0]["models"]["output"], "a model that is logged last is on its way when the process ends"
    for case, plants in PLANTED.items():
        for _, _, plant in plants:
            (task,) = own_server.tasks
            plant(Planted(session.call, session.add_events, own_place.client, run_id, task))
        found = own_place.command("verify", "--json", run_id)
        (report,) = json.loads(found.stdout)["different"]
        assert found.code == 1
        assert len(report["differences"]) == len(plants), (case, report)
        for what, words, _ in plants:
            named = [difference["what"] for difference in report["differences"] if words in difference["detail"]]
            assert what in named, (case, words, report)
        repaired = own_place.command(*shlex.split(report["repair"])[1:])
        assert repaired.code == 0, (case, repaired.stdout)
        clean = own_place.command("verify", run_id)
        assert clean.code == 0, (case, clean.stdout)
    assert len(own_server.tasks) == 1


@pytest.mark.slow
def test_a_missing_run_or_server_is_one_line(own_place: Place, own_server: ClearMLServer) -> None:
    """An unknown run, no MLflow server, no ClearML server: exit code 1, a line, no traceback."""
    assert own_place.run("import mlflow\nwith mlflow.start_run(run_name='one'): pass\n").code == 0
    wait_for(lambda: not own_place.workers())
    run_id = own_place.the_run().info.run_id
    unknown = own_place.command("verify", "0" * 32, run_id)
    assert unknown.code == 1
    assert "1 the same" in unknown.stdout
    (line,) = [line for line in unknown.stderr.splitlines() if "INFO" not in line]
    assert line.startswith(f"{'0' * 32}: there is no run")
    nowhere = {"MLFLOW_TRACKING_URI": "http://me:sesame@127.0.0.1:1"}
    own_server.faults.add(Fault(status=503))
    for arguments, environ, words in (
        (("verify",), nowhere, "MLflow"), (("sync", "--all"), nowhere, "MLflow"),
        (("verify", run_id), {}, "no answer"), (("sync", "--all", "--full"), {}, "no answer"),
    ):  # fmt: skip
        done = own_place.command(*arguments, **environ)
        assert (done.code, "Traceback" in done.stderr) == (1, False), (arguments, done.stderr)
        assert words in done.stderr + done.stdout
        assert "one:" not in done.stderr, "it is not that run's fault"
        assert "sesame" not in done.stderr + done.stdout


@pytest.mark.core
def test_a_plain_run_is_clean(own_place: Place) -> None:
    """Without the frameworks that the other one needs."""
    assert own_place.run(test_sync.SCRIPT).code == 0
    wait_for(lambda: not own_place.workers())
    verified = own_place.command("verify")
    assert (verified.code, verified.stdout) == (0, "1 the same, 0 different\n")
