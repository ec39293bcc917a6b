"""`status`: the runs of the store and of this machine, on a pipe, as JSON and on a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags
from tests.end_to_end.processes import AT_ONCE_S

TWO_RUNS = """
import mlflow
for experiment, name in (("vision", "first"), ("text", "second")):
    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name=name):
        pass
"""


@pytest.fixture(scope="module")
def busy(server: ClearMLServer, new_place: Callable[[ClearMLServer | None], Place]) -> Iterator[Place]:
    """A place with two runs that have Tasks, and one that is pending."""
    place = new_place(server)
    place.run(TWO_RUNS)
    for run in place.mlflow_runs():
        ended(server, run.info.run_id)
    place.run("import mlflow; mlflow.start_run(run_name='third')", CLEARML_API_SECRET_KEY="wrong")
    place.environ["AUTOINSTRUMENT_HOME"] = str(place.home)
    return place


def listed(place: Place, *options: str) -> list[dict[str, Any]]:
    done = place.command("status", "--json", *options)
    assert (done.code, done.stderr) == (0, "")
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def test_the_newest_first_with_both_links(busy: Place) -> None:
    third, second, first = listed(busy)
    assert [row["run_name"] for row in (first, second, third)] == ["first", "second", "third"]
    assert (first["experiment"], first["status"], first["state"], first["pending"]) == (
        "vision",
        "FINISHED",
        "synced",
        "",
    )
    tags = link_tags(busy.mlflow_run(first["run_id"]))
    assert (first["task_id"], first["task_url"]) == (tags["task_id"], tags["task_url"])
    assert (third["state"], third["task_id"]) == ("pending", "")
    assert "credentials" in third["pending"]
    assert "autoinstrument sync" in third["pending"]


def test_a_selection(busy: Place) -> None:
    assert [row["run_name"] for row in listed(busy, "--experiment", "text")] == ["second"]
    assert [row["run_name"] for row in listed(busy, "--limit", "1")] == ["third"]
    done = busy.command("status", "--experiment", "nothing")
    assert done.code == 2
    assert "no experiment is called 'nothing'" in done.stderr


def test_on_a_pipe(busy: Place) -> None:
    """The table fits 80 columns; addresses and reasons are below."""
    done = busy.command("status")
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["run", "experiment", "began", "status", "state", "Task", "MLflow"]
    assert [line.split()[0] for line in lines[:3]] == ["third", "second", "first"]
    assert max(map(len, (head, *lines[:3]))) <= 80
    tags = link_tags(busy.run_named("first"))
    assert tags["task_id"][:8] in lines[2]
    assert f"  Task: {tags['task_url']}" in lines
    assert [line for line in lines if line.startswith("  it has no Task yet")]
    assert "\x1b" not in done.stdout


def test_wide(busy: Place) -> None:
    done = busy.command("status", "--wide")
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["run", "experiment", "began", "status", "state", "Task", "MLflow", "pending"]
    assert [line.split()[0] for line in lines] == ["third", "second", "first"]
    assert link_tags(busy.run_named("first"))["task_url"] in lines[2]


def on_a_terminal(place: Place, *words: str, **environ: str) -> str:
    """Return what a command writes to a terminal."""
    parent_end, child_end = pty.openpty()
    shown_on = {"TERM": "xterm-256color", "COLUMNS": "200", **environ}
    environment = place.environment(**shown_on) | {"AUTOINSTRUMENT_ENABLED": ""}
    command = [place.python, "-m", "autoinstrument", *words]
    with subprocess.Popen(
        command, env=environment, cwd=place.folder, stdin=child_end, stdout=child_end, stderr=child_end
    ):
        os.close(child_end)
        text = b""
        while True:
            try:
                text += os.read(parent_end, 65536)
            except OSError:  # the terminal is closed
                break
    os.close(parent_end)
    return text.decode()


def test_on_a_terminal_the_links_can_be_clicked(busy: Place) -> None:
    url = link_tags(busy.run_named("first"))["task_url"]
    for environ in ({}, {"NO_COLOR": "1"}):
        text = on_a_terminal(busy, "status", **environ)
        assert f";{url}\x1b\\" in text, "OSC 8"
    assert "\n  it has no Task yet" in text.replace("\r\n", "\n"), "below the table, which it would make fold"
    assert "\x1b" not in on_a_terminal(busy, "status", TERM="dumb")


def test_colours_on_a_terminal_unless_they_are_not_wanted(busy: Place) -> None:
    assert "\x1b[3" in on_a_terminal(busy, "explain")
    assert "\x1b[" not in on_a_terminal(busy, "explain", NO_COLOR="1")


def test_a_tracking_server_that_is_away(busy: Place) -> None:
    """Runs that are recorded here are listed anyway, and soon."""
    done = busy.command("status", MLFLOW_TRACKING_URI="http://user:sesame@127.0.0.1:9")
    assert done.code == 1
    assert done.seconds < AT_ONCE_S
    assert "third" in done.stdout
    (line,) = done.stderr.splitlines()
    assert "127.0.0.1:9 cannot be reached: check MLFLOW_TRACKING_URI" in line
    assert "sesame" not in line


def test_no_runs(new_place: Callable[[ClearMLServer | None], Place]) -> None:
    place = new_place(None)
    done = place.command("status")
    assert (done.code, done.stdout) == (0, f"there are no runs yet in {place.uri}\n")
