"""Promises for the runs of any script: each is in ClearML as it is in MLflow, and the script noticed nothing."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from mlflow.entities import Run

from autoinstrument.scrubber import hide_named
from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, Points, ended, link_tags, scalars, section
from tests.end_to_end.processes import Finished

_STATUS = {"FINISHED": "completed", "FAILED": "failed", "KILLED": "stopped"}
_VARYING = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d|[0-9a-f]{32}|/[^ ]*/e2e-[^/]*")
"""Parts of frameworks' lines that differ from run to run: dates, MLflow's ids, the place's folder."""


class Mirrored(NamedTuple):
    """A run of the MLflow store and its Task, found to be the same."""

    run: Run
    task: dict[str, Any]
    points: Points


def mirrored(place: Place, server: ClearMLServer, plain: Place, script: str) -> list[Mirrored]:
    """Run a script with the agent in one place and without it in another, at once, and compare the results.

    Returns:
        The runs in the order in which they were started; there is at least one.
    """
    started = place.start(script)
    without = plain.run(script, agent=False)
    done = started.finish()
    assert done.code == without.code == 0, done.stderr + without.stderr
    assert done.stdout == without.stdout
    assert _other_lines(done) == _other_lines(without), f"{done.stderr}\nwithout the agent:\n{without.stderr}"
    runs = place.mlflow_runs()
    assert runs
    assert len(runs) == len(plain.mlflow_runs())
    # A line each with the Task's address, from the sixth on one for all, and nothing else.
    assert len(done.agent_lines) == min(len(runs), 6), done.stderr
    assert len(server.tasks) == len(runs)
    return [_compared(place, server, run) for run in runs]


def _other_lines(done: Finished) -> list[str]:
    """Return the lines on stderr that are not the agent's, in no order: threads write them."""
    return sorted(_VARYING.sub("", line) for line in done.stderr.splitlines() if line not in done.agent_lines)


def _compared(place: Place, server: ClearMLServer, run: Run) -> Mirrored:
    task = ended(server, run.info.run_id)
    points = place.points(run.info.run_id)
    assert task["name"].rstrip("_") == run.info.run_name
    assert server.project_name(task["project"]) == place.client.get_experiment(run.info.experiment_id).name
    assert task["status"] == _STATUS[run.info.status]
    assert section(task, "MLflow") == {key: hide_named(key, value) for key, value in run.data.params.items()}
    assert scalars(server, task["id"]) == points
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith("clearml.")}
    assert section(task, "MLflow tags") == tags
    assert link_tags(run)["task_id"] == task["id"]
    assert link_tags(run)["state"] == "synced"
    parent = run.data.tags.get("mlflow.parentRunId")
    assert (task.get("parent") or "") == (link_tags(place.mlflow_run(parent))["task_id"] if parent else "")
    return Mirrored(run, task, points)
