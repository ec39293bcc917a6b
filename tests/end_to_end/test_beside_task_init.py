"""The Task of a script beside the one that the same script makes by hand, with `Task.init`, field by field."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from typing import Any

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended

TRAIN = """
import argparse, os, sys

import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import mlflow

by_hand = "BY_HAND" in os.environ
if by_hand:
    from clearml import Task

    task = Task.init("team/compared", "careful-owl")

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1, help="learning rate")
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--no-augment", action="store_true")
arguments = parser.parse_args()

with mlflow.start_run(run_name="careful-owl"):
    params = {"depth": 4, "optimizer": "adam"}
    mlflow.log_params(params)
    if by_hand:
        task.connect(params, name="MLflow")
    for epoch in range(arguments.epochs):
        print("epoch", epoch)
        mlflow.log_metric("val/loss", 1 / (epoch + 1), step=epoch)
        if by_hand:
            task.get_logger().report_scalar("val", "loss", 1 / (epoch + 1), epoch)
    mlflow.log_metric("accuracy", 0.75)
    mlflow.log_dict({"classes": ["a", "b"]}, "classes.json")
    figure, axes = plt.subplots()
    axes.plot([1, 2, 3])
    mlflow.log_figure(figure, "curve.png")
    if by_hand:
        task.get_logger().report_single_value("accuracy", 0.75)
        task.upload_artifact("classes.json", {"classes": ["a", "b"]})
        task.get_logger().report_matplotlib_figure("curve", "curve", figure, iteration=0)
    print("trained", file=sys.stderr)
if by_hand:
    task.close()
"""

OF_THIS_TASK = "each Task has its own"
BY_TASK_INIT = "the SDK's own text"
BESIDE = "in addition: what MLflow knows of the run"
AS_MLFLOW_HAS_IT = "the artifact is MLflow's file, where MLflow keeps it"
DIFFERENCES = {
    "id": OF_THIS_TASK,
    "project": "named as the run's experiment",
    "completed": OF_THIS_TASK,
    "created": OF_THIS_TASK,
    "started": OF_THIS_TASK,
    "last_change": OF_THIS_TASK,
    "last_update": OF_THIS_TASK,
    "status_changed": OF_THIS_TASK,
    "status_reason": BY_TASK_INIT,
    "comment": "the run's description, if it has one, instead of a text that names user and time",
    "tags": "Tasks of runs are found by the tag mlflow",
    "configuration/autoinstrument/*": "in addition: the settings that a clone takes",
    "configuration/command line/*": "in addition: the command line word by word, from which a clone's is made",
    "configuration/pip freeze/*": "in addition: all installed packages",
    "hyperparams/MLflow tags/*": BESIDE,
    "hyperparams/properties/*": BESIDE,
    "hyperparams/MLflow/*/description": "says that an edit has no effect in a clone",
    "hyperparams/Args/[!l]*/description": 'the SDK says "None" of arguments without a help text',
    "script/requirements/*": "versions of what the code imports, and below of what that needs, without clearml",
    "runtime/CLEARML VERSION": "the training does not use the SDK",
    "runtime/progress": "of the SDK's own reporter",
    "execution/artifacts/classes.json/*": AS_MLFLOW_HAS_IT,
    "execution/artifacts/curve.png/*": AS_MLFLOW_HAS_IT,
    "events/log/*": "complete; of a script that is over at once, the SDK sends its own lines and the end",
    "events/plot/*": "the figure as it was logged, a picture; the SDK draws it again, also where nobody asked for it",
    "events/training_stats_scalar/accuracy, accuracy, 0/*": "in addition: the point itself, beside the single value",
    "last_metrics/5d6db9a1dc722586187fc2db530f8388/*": "the same",
    "metric_stats/*": "of the request that was sent last",
}  # fmt: skip
"""Patterns of fields that may differ, each with its reason. One that finds no difference fails the test."""


def test_every_field_of_the_task(sdk_place: Place, own_server: ClearMLServer) -> None:
    """All fields of ClearML's pages are there, whichever of the two made the Task."""
    sdk_place.write("train.py", TRAIN)
    sdk_place.write("helpers.py", "answer = 41\n")
    sdk_place.git("init", "-q", "-b", "main")
    sdk_place.git("add", "-A")
    sdk_place.git("commit", "-q", "-m", "first")
    sdk_place.git("remote", "add", "origin", "https://example.com/team/training.git")
    sdk_place.write("helpers.py", "answer = 42\n")

    line: dict[str, Any] = {"command": ["train.py"]}
    done = sdk_place.run("", "--lr", "0.5", agent=False, BY_HAND="1", **line)
    assert done.code == 0, done.stderr
    (by_hand,) = own_server.tasks
    done = sdk_place.run("", "--lr", "0.5", **line)
    assert done.code == 0, done.stderr
    own = ended(own_server, sdk_place.mlflow_runs()[-1].info.run_id)

    first, second = (dict(_fields(_with_events(own_server, task))) for task in (by_hand, own))
    differing = {path for path in first.keys() | second.keys() if first.get(path) != second.get(path)}
    allowed = {pattern: fnmatch.filter(differing, pattern) for pattern in DIFFERENCES}
    unexplained = differing.difference(*allowed.values())
    assert not {path: (first.get(path), second.get(path)) for path in sorted(unexplained)}
    assert not [pattern for pattern, paths in allowed.items() if not paths]


def _with_events(server: ClearMLServer, task: dict[str, Any]) -> dict[str, Any]:
    """Return a Task with its scalars, single values, plots, pictures and console as further fields."""
    events: dict[str, Any] = {}
    for event in server.events(task["id"]):
        kind = event["type"]
        if kind == "log":
            events.setdefault("log", {}).setdefault(event["level"], []).extend(event["msg"].splitlines())
        else:
            content = {name: event.get(name) for name in ("value", "plot_str", "url")}
            series = f"{event['metric']}, {event['variant']}, {event['iter']}"
            events.setdefault(kind, {})[series] = content
    return {**task, "events": events, "active_duration": "whole seconds"}


def _fields(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a document with their paths; artifacts by their keys, texts by their lines."""
    if isinstance(value, list) and all(isinstance(each, dict) and "key" in each for each in value):
        value = {each["key"]: each for each in value}
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _fields(each, f"{path}/{name}" if path else name)
    else:
        yield path, value
