"""The run or the Task that a word of the command line means."""

from __future__ import annotations

import click
import pytest

from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.cli.named_run import named_run, named_task
from tests.clearml_server import ClearMLServer
from tests.end_to_end.conftest import database as database
from tests.end_to_end.harness import task_of
from tests.unit.sync.test_run_diff import runs as runs
from tests.unit.sync.test_stored import server as server

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_ids_beginnings_and_names(runs: list[str], server: ClearMLServer) -> None:
    task, tasks = task_of(server, runs[0])["id"], Tasks(Session())
    for word in (runs[0], runs[0][:10], "baseline", task, task[:10]):
        assert named_run(word).run.run_id == runs[0]
        assert named_task(word, tasks)["id"] == task
    with pytest.raises(click.ClickException, match="there is no run 'c0ffee'"):
        named_task("c0ffee", tasks)


def test_a_task_without_a_run(runs: list[str], server: ClearMLServer) -> None:
    """A clone that has not run is found by its own id."""
    clone = Session().call("tasks.clone", task=task_of(server, runs[0])["id"])["id"]
    assert named_task(clone, Tasks(Session()))["id"] == clone
