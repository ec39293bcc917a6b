"""One run of a script in a Git repository, and everything that its Task is promised to hold."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable
from datetime import datetime, timezone
from importlib.util import find_spec
from typing import Any, NamedTuple

import pytest
from mlflow.entities import Run

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags, properties, scalars, section, task_of, task_page, tasks_of
from tests.end_to_end.processes import Finished, wait_for

SCRIPT = """
import argparse, sys, time
import mlflow

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.5)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--api-key", default="")
args = parser.parse_args()

mlflow.set_experiment("vision/cats")
with mlflow.start_run(run_name="first try", description="What was tried.", tags={"team": "blue"}) as run:
    mlflow.log_params({"lr": args.lr, "depth": 7, "model": "resnet", "flag": True})
    print("training starts: \\u00e4\\u00f6\\u00fc")
    for percent in range(0, 101, 10):
        sys.stderr.write(f"\\rprogress {percent}%")
    sys.stderr.write("\\n")
    for epoch in range(args.epochs):
        mlflow.log_metric("train/loss", 1 / (epoch + 1), step=epoch)
        mlflow.log_metric("accuracy", epoch / 10, step=epoch)
        mlflow.log_metric("val/top/5", epoch / 7, step=epoch)
        print("epoch", epoch)
    print("a warning", file=sys.stderr)
    mlflow.set_tag("late", "yes")
print("after the run")
"""


pytestmark = pytest.mark.core


class Outcome(NamedTuple):
    place: Place
    done: Finished
    plain: Finished
    commit: str
    run: Run
    task: dict[str, Any]


@pytest.fixture(scope="module")
def outcome(server: ClearMLServer, new_place: Callable[[ClearMLServer | None], Place]) -> Outcome:
    place = new_place(server)
    place.git("init", "-q", "-b", "topic")
    place.git("remote", "add", "origin", "https://me:hidden-token@example.com/team/training.git")
    place.write("code/train.py", SCRIPT)
    place.git("add", "-A")
    place.git("commit", "-q", "-m", "Train")
    commit = place.git("rev-parse", "HEAD")
    place.write("code/train.py", SCRIPT + 'print("changed since the commit")\n')
    arguments = ["--lr", "0.25", "--api-key", "sesame"]
    started = place.start("", *arguments, command=["code/train.py"], fresh=True)
    plain = new_place(None)
    plain.write("code/train.py", SCRIPT + 'print("changed since the commit")\n')
    without = plain.run("", *arguments, command=["code/train.py"], agent=False)
    done = started.finish()
    run = place.the_run()
    return Outcome(place, done, without, commit, run, ended(server, run.info.run_id))


def test_the_task_is_completed(outcome: Outcome) -> None:
    """FINISHED becomes completed, with neither reason nor message of a failure."""
    assert outcome.done.code == 0
    assert outcome.task["status"] == "completed"
    assert not outcome.task.get("status_message")


def test_the_script_section_names_repository_branch_commit_and_file(outcome: Outcome) -> None:
    """The code can be found again; the remote's credentials are in no field of the Task."""
    script = outcome.task["script"]
    assert script["repository"] == "https://example.com/team/training.git"
    assert script["branch"] == "topic"
    assert script["version_num"] == outcome.commit
    assert script["entry_point"] == "code/train.py"
    assert script["working_dir"] == "."
    assert "hidden-token" not in repr(outcome.task)


def test_the_diff_holds_uncommitted_changes(outcome: Outcome) -> None:
    diff = outcome.task["script"]["diff"]
    assert '+print("changed since the commit")' in diff.splitlines()


def test_the_packages_are_those_that_the_script_loaded_and_the_agent(outcome: Outcome) -> None:
    """Imported packages come first, below ClearML's own line; the whole freeze is beside the pinned packages."""
    requirements = outcome.task["script"]["requirements"]["pip"]
    names = {re.split(r"[=@ ]", line)[0].lower() for line in requirements.splitlines() if line and line[0] != "#"}
    loaded = {"mlflow", "sqlalchemy"} if find_spec("sqlalchemy") else {"mlflow-skinny"}
    assert {*loaded, "autoinstrument"} <= names
    assert "pytest" not in names
    header, imported, rest = requirements.split("\n\n")
    assert header == f"# Python {platform.python_version()}"
    assert [line.partition("==")[0] for line in imported.splitlines()] == [min(loaded, key=len)]
    assert "autoinstrument" in rest
    assert outcome.task["script"]["binary"].startswith("python3")
    freeze = outcome.task["configuration"]["pip freeze"]["value"]
    assert "pytest" in freeze


def test_argparse_values_are_in_args_by_name(outcome: Outcome) -> None:
    """Defaults, too; a value with a secret's name is hidden."""
    arguments = section(outcome.task, "Args")
    assert arguments["lr"] == "0.25"
    assert arguments["epochs"] == "3"
    assert "sesame" not in repr(outcome.task)


def test_params_are_in_the_section_mlflow(outcome: Outcome) -> None:
    """With the types of their values, of which MLflow keeps the text alone."""
    assert section(outcome.task, "MLflow") == {"lr": "0.25", "depth": "7", "model": "resnet", "flag": "True"}
    types = {key: item["type"] for key, item in outcome.task["hyperparams"]["MLflow"].items()}
    assert types == {"lr": "float", "depth": "int", "model": "str", "flag": "bool"}


def test_every_metric_point_is_there(outcome: Outcome, server: ClearMLServer) -> None:
    """Same key, step, value and time on both sides; title and series are split at the last slash."""
    held = scalars(server, outcome.task["id"])
    assert held == outcome.place.points(outcome.run.info.run_id)
    assert len(held) == 9
    assert set(server.scalars(outcome.task["id"])) - {"Summary"} == {"train", "accuracy", "val/top"}


def test_the_console_is_there_with_progress_bars_folded(outcome: Outcome, server: ClearMLServer) -> None:
    """Both streams, in order, nothing twice, the progress bar as its last state."""
    lines = server.console(outcome.task["id"]).splitlines()
    for line in ("training starts: äöü", "epoch 0", "epoch 1", "epoch 2", "a warning", "progress 100%"):
        assert lines.count(line) == 1, (line, lines)
    assert lines.index("training starts: äöü") < lines.index("epoch 0") < lines.index("epoch 2")
    assert not [line for line in lines if "progress" in line and "100%" not in line]
    assert lines.count("after the run") == 1


def test_the_agents_own_lines_are_not_in_the_console(outcome: Outcome, server: ClearMLServer) -> None:
    assert "autoinstrument:" not in server.console(outcome.task["id"])


def test_name_project_tags_and_comment_are_the_runs(outcome: Outcome, server: ClearMLServer) -> None:
    assert outcome.task["name"] == "first try"
    assert server.project_name(outcome.task["project"]) == "vision/cats"
    assert outcome.task["tags"] == ["mlflow"]
    assert outcome.task["comment"] == "What was tried."


def time_of(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, timezone.utc).isoformat(timespec="milliseconds")


def test_user_properties_lead_to_the_run(outcome: Outcome) -> None:
    """A file store has no page, so there is no run URL and no link artifact. The times are MLflow's."""
    info = outcome.run.info
    assert properties(outcome.task) == {
        "mlflow_run_started": time_of(info.start_time),
        "mlflow_run_ended": time_of(info.end_time),
        "mlflow_run_id": outcome.run.info.run_id,
        "mlflow_experiment": "vision/cats",
        "mlflow_experiment_id": info.experiment_id,
        "mlflow_tracking_uri": outcome.place.uri,
    }
    assert outcome.task["execution"]["artifacts"] == []


def test_three_tags_lead_from_the_run_to_the_task(outcome: Outcome, server: ClearMLServer) -> None:
    """`clearml.task_id`, `clearml.task_url`, `clearml.state`; no other tag of the run is new or changed."""
    task = outcome.task
    assert link_tags(outcome.run) == {
        "task_id": task["id"],
        "task_url": task_page(server, task),
        "state": "synced",
    }
    own = {key for key in outcome.run.data.tags if not key.startswith(("clearml.", "mlflow."))}
    assert own == {"team", "late"}


def test_stdout_is_the_same_as_without_the_agent(outcome: Outcome) -> None:
    assert outcome.done.stdout == outcome.plain.stdout
    assert outcome.done.code == outcome.plain.code


def test_stderr_has_two_more_lines_at_most(outcome: Outcome) -> None:
    """One of them with the Task's address; without them stderr is what it is without the agent."""
    assert 1 <= len(outcome.done.agent_lines) <= 2
    assert outcome.task["id"] in outcome.done.agent_lines[0]
    other_lines = [line for line in outcome.done.stderr.splitlines() if line not in outcome.done.agent_lines]
    undated = re.compile(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d")
    assert [undated.sub("", line) for line in other_lines] == [
        undated.sub("", line) for line in outcome.plain.stderr.splitlines()
    ]


def test_nothing_is_left_behind(outcome: Outcome) -> None:
    """No process, no temporary file, no journal; the state folder can be read by its owner only."""
    wait_for(lambda: not outcome.place.left_behind())
    assert outcome.place.journals() == []
    assert outcome.place.home.stat().st_mode & 0o777 == 0o700


def test_unpublished_commits_are_changes_if_clearml_is_configured_so(
    own_place: Place, own_server: ClearMLServer
) -> None:
    """By ClearML's own setting, which an agent's machine needs where it cannot fetch the commit."""
    script = "import mlflow\nwith mlflow.start_run():\n    pass\n"
    origin = own_place.root / "origin.git"
    own_place.git("init", "-q", "-b", "topic")
    own_place.git("init", "-q", "--bare", str(origin))
    own_place.git("remote", "add", "origin", str(origin))
    own_place.write("train.py", "print('published')\n")
    own_place.git("add", "-A")
    own_place.git("commit", "-q", "-m", "Publish")
    own_place.git("push", "-q", "-u", "origin", "topic")
    own_place.write("train.py", script)
    own_place.git("commit", "-q", "-a", "-m", "Train")
    settings = own_place.root / "clearml.conf"
    settings.write_text("sdk { development { store_code_diff_from_remote: true } }")
    done = own_place.run(script, CLEARML_CONFIG_FILE=str(settings))
    assert done.code == 0, done.stderr
    section = ended(own_server, own_place.the_run().info.run_id)["script"]
    assert section["version_num"] == own_place.git("rev-parse", "origin/topic")
    assert "+import mlflow" in section["diff"].splitlines()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_working_copy_of_another_user(place: Place, server: ClearMLServer) -> None:
    """Root in a container, on a volume of the user's: Git refuses. The commit is kept, and one line has the remedy."""
    script = "import mlflow\nfor number in range(2):\n    with mlflow.start_run():\n        pass\n"
    place.git("init", "-q", "-b", "topic")
    place.git("remote", "add", "origin", "https://example.com/team/training.git")
    place.write("train.py", script)
    place.git("add", "-A")
    place.git("commit", "-q", "-m", "Train")
    commit = place.git("rev-parse", "HEAD")
    for path in (place.folder, *place.folder.rglob("*")):
        os.chown(path, 12345, 12345)
    done = place.run(script)
    assert (done.code, done.stdout) == (0, "")
    remedy = f"`git config --global --add safe.directory {place.folder.resolve()}`"
    lines = [line for line in done.stderr.splitlines() if "safe.directory" in line]
    assert lines == [
        f"autoinstrument: the uncommitted changes are not kept: Git refuses {place.folder.resolve()}, "
        f"which belongs to another user; {remedy} allows it"
    ]
    for run in place.mlflow_runs():
        section = ended(server, run.info.run_id)["script"]
        assert (section["repository"], section["branch"]) == ("https://example.com/team/training.git", "topic")
        assert (section["version_num"], section["entry_point"]) == (commit, "train.py")
        assert remedy in section["diff"]
    found = place.command("doctor", AUTOINSTRUMENT_ENABLED="1")
    assert found.code == 1
    assert f"Git: {place.folder.resolve()}, topic at {commit[:8]}; its changes are not kept" in found.stdout
    assert f"  {remedy} allows it." in found.stdout


def test_a_slow_git_does_not_delay_the_task(place: Place, server: ClearMLServer) -> None:
    """The Task exists, with its points, the code as files describe it, and the reason; Git's description follows."""
    script = """
        import sys, time
        from pathlib import Path
        import mlflow
        with mlflow.start_run() as run:
            mlflow.log_metric("loss", 0.5)
            Path("started").touch()
            while not Path("seen").exists():
                time.sleep(0.05)
        """
    tools = place.root / "tools"
    tools.mkdir()
    slow = tools / "git"
    # MLflow asks Git as well, and waits for it.
    wait = f'[ "$GIT_OPTIONAL_LOCKS" != 0 ] || while [ ! -e "{tools}/go" ]; do sleep 0.05; done'
    slow.write_text(f'#!/bin/sh\n{wait}\nPATH="${{PATH#*:}}" exec git "$@"\n')
    slow.chmod(0o755)
    place.git("init", "-q", "-b", "topic")
    place.git("remote", "add", "origin", "https://example.com/team/training.git")
    place.write("train.py", "print('before')\n")
    place.git("add", "-A")
    place.git("commit", "-q", "-m", "Train")
    commit = place.git("rev-parse", "HEAD")
    started = place.start(script, PATH=f"{tools}:{os.environ['PATH']}")
    wait_for((place.folder / "started").exists)
    run_id = place.the_run().info.run_id
    wait_for(lambda: tasks_of(server, run_id))
    task = task_of(server, run_id)
    wait_for(lambda: scalars(server, task["id"]))
    section = task_of(server, run_id)["script"]
    assert (section["repository"], section["branch"]) == ("https://example.com/team/training.git", "topic")
    assert (section["version_num"], section["entry_point"]) == (commit, "train.py")
    assert "The uncommitted changes are not here yet: Git has not answered yet" in section["diff"]
    (tools / "go").touch()
    (place.folder / "seen").touch()
    done = started.finish()
    assert (done.code, len(done.stderr.splitlines())) == (0, 1), done.stderr
    task = ended(server, run_id)
    wait_for(lambda: link_tags(place.the_run())["state"] == "synced")
    task = task_of(server, run_id)
    assert "+import mlflow" in task["script"]["diff"]
    assert "mlflow" in task["script"]["requirements"]["pip"]
    assert not list((place.home / "captures").iterdir())
