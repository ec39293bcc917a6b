"""Tasks follow an experiment that is renamed, deleted or restored; everything else stays where it is."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.cli import main
from autoinstrument.clone_run import settings as travelling
from autoinstrument.journal.run_journal import RunJournals
from autoinstrument.mirror import task_project
from autoinstrument.mirror.kinds.kind import TaskOfRun
from autoinstrument.mirror.kinds.project import Project
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mlflow_store.run_reader import open_run
from autoinstrument.mlflow_store.runs import find_run
from autoinstrument.settings import Settings
from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.conftest import database as database
from tests.end_to_end.harness import link_tags, properties, tasks_of
from tests.unit.conftest import running_server, sdk_task
from tests.unit.mirror.runs import PROCESS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
follow_command: Any = importlib.import_module("autoinstrument.cli.follow")
"""The module, whose name in its package is the command's."""


@pytest.fixture(scope="module")
def server() -> Iterator[ClearMLServer]:
    with running_server() as running:
        yield running


@pytest.fixture
def experiment(client: MlflowClient, request: pytest.FixtureRequest) -> str:
    """Id of an experiment with the test's name: all tests share a server."""
    task_project._report_move.cache_clear()
    return str(client.create_experiment(f"team/{request.node.name}"))


def a_run(client: MlflowClient, experiment: str, name: str = "one", *, ended_ms: int | None = None) -> str:
    run_id = str(client.create_run(experiment, run_name=name, tags={"mlflow.user": "anna"}).info.run_id)
    client.log_batch(run_id, [Metric("loss", 0.5, 1_600_000_000_000, 0)])
    client.set_terminated(run_id, end_time=ended_ms)
    return run_id


def sync(*arguments: str) -> dict[str, str]:
    """Sync, and return the outcome of each run by name."""
    done = CliRunner().invoke(main, ["sync", *(arguments or ("--all",)), "--json"])
    assert done.exit_code == 0, done.output
    return {outcome["run_name"]: outcome["result"] for outcome in json.loads(done.stdout)}


def differences(run_id: str) -> str:
    return CliRunner().invoke(main, ["verify", run_id]).output


def task_of(server: ClearMLServer, run_id: str) -> dict[str, Any]:
    """Return a run's Task; its clones are others."""
    (task,) = [task for task in tasks_of(server, run_id) if "development" in task["system_tags"]]
    return task


def project_of(server: ClearMLServer, run_id: str) -> str:
    return server.project_name(task_of(server, run_id)["project"])


def renamed(client: MlflowClient, experiment: str, suffix: str = " 2") -> str:
    name = client.get_experiment(experiment).name + suffix
    client.rename_experiment(experiment, name)
    return str(name)


def test_a_project_is_renamed_with_its_experiment(
    server: ClearMLServer, client: MlflowClient, experiment: str, caplog: pytest.LogCaptureFixture
) -> None:
    runs = [a_run(client, experiment, name) for name in ("one", "two", "three")]
    sync()
    before = task_of(server, runs[0])
    model = Session().call("models.create", name="model", uri="file:///m", task=before["id"], project=before["project"])
    name = renamed(client, experiment)
    assert "which is called" in differences(runs[0])
    assert sync() == dict.fromkeys(("one", "two", "three"), "synced")
    assert {project_of(server, run_id) for run_id in runs} == {name}
    after = task_of(server, runs[0])
    assert after["project"] == before["project"], "addresses of pages stay"
    assert [one["project"] for one in server.models if one["id"] == model["id"]] == [before["project"]]
    assert properties(after)["mlflow_experiment"] == name
    assert travelling.read(after["configuration"]["autoinstrument"]["value"])["MLFLOW_EXPERIMENT_NAME"] == name
    assert sdk_task(after["id"]).get_project_name() == name
    server.clear_requests()
    assert set(sync().values()) == {"unchanged"}
    assert len(server.requests) <= 4, "what has not changed costs nothing"
    assert not [record for record in caplog.records if "experiment" in record.message]


def keep_a_task(session: Session, run: dict[str, Any]) -> None:
    session.call("tasks.create", name="a person's", type="training", project=run["project"])


def keep_a_clone(session: Session, run: dict[str, Any]) -> None:
    session.call("tasks.clone", task=run["id"], new_task_name="a clone")


def keep_a_model(session: Session, run: dict[str, Any]) -> None:
    session.call("models.create", name="a person's", uri="file:///m", project=run["project"])


def keep_a_project(session: Session, run: dict[str, Any]) -> None:
    name = session.call("projects.get_by_id", project=run["project"])["project"]["name"]
    session.call("projects.create", name=f"{name}/.reports", description="", system_tags=["hidden"])


def keep_the_new_name(session: Session, run: dict[str, Any]) -> None:
    name = session.call("projects.get_by_id", project=run["project"])["project"]["name"]
    session.call("projects.create", name=f"{name} 2", description="")


def keep_the_name(session: Session, run: dict[str, Any]) -> None:
    """Let the test's server answer that this user may not rename projects."""


def keep_an_older_task(session: Session, run: dict[str, Any]) -> None:
    """A Task of a release that did not write the experiment's id."""
    session.call("tasks.delete_hyper_params", task=run["id"], force=True, hyperparams=[
        {"section": "properties", "name": "mlflow_experiment_id"}
    ])  # fmt: skip


@pytest.mark.parametrize(
    "use",
    [keep_a_task, keep_a_clone, keep_a_model, keep_a_project, keep_the_new_name, keep_the_name, keep_an_older_task],
)
def test_a_project_that_holds_more_stays(
    server: ClearMLServer, client: MlflowClient, experiment: str, use: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = list[str]()
    monkeypatch.setattr(task_project.logger(), "info", lambda text, *names: lines.append(text % names))
    runs = [a_run(client, experiment, name) for name in ("one", "two")]
    sync()
    before = task_of(server, runs[0])
    session = Session()
    model = session.call("models.create", name="model", uri="file:///m", task=before["id"], project=before["project"])
    use(session, before)
    others = {task["id"]: task for task in server.tasks if properties(task).get("mlflow_run_id") not in runs}
    others |= {one["id"]: one for one in server.models if one["id"] != model["id"]}
    formerly, name = client.get_experiment(experiment).name, renamed(client, experiment)
    server.clear_requests()
    fault = server.faults.add(Fault("projects.update", status=403 if use is keep_the_name else 500))
    assert set(sync().values()) == {"synced"}
    server.faults.remove(fault)
    looks = [one for one in server.requests if one.endpoint == "tasks.get_all" and "project" in (one.body or {})]
    assert len(looks) <= 1, "the project is looked through once, not for each of its Tasks"
    after = task_of(server, runs[0])
    assert {project_of(server, run_id) for run_id in runs} == {name}
    assert server.project_name(before["project"]) == formerly
    assert [server.project_name(one["project"]) for one in server.models if one["id"] == model["id"]] == [name]
    present = [*server.tasks, *server.models]
    assert all(one in present for one in others.values()), "others were touched"
    assert after["project"] in link_tags(client.get_run(runs[0]))["task_url"], "MLflow links to the new page"
    (line,) = lines
    assert f"{formerly!r} is called {name!r}" in line
    assert set(sync().values()) == {"unchanged"}


@pytest.mark.parametrize(
    ("template", "project"),
    [
        ("fixed", "fixed"),
        ("{user}/{experiment}", "anna/{name}"),
        ("{script}/of {experiment}", "train/of {name}"),
        ("{workspace}-{experiment}", "default-{name}"),
    ],
)
def test_a_template_decides_which_tasks_follow(
    server: ClearMLServer, client: MlflowClient, experiment: str, template: str, project: str, tmp_path: Path
) -> None:
    """Only the journal knows the script: the project's name shows it."""
    run_id = a_run(client, experiment)
    run, session = open_run(client.tracking_uri, run_id).run, Session()
    mirror = RunMirror(
        RunJournals(Settings(home=str(tmp_path))).of(run, PROCESS), Settings(project=template), Tasks(session),
        Uploads(FileUploads(session)),
    )  # fmt: skip
    mirror.flush()
    assert project_of(server, run_id) == project.format(name=client.get_experiment(experiment).name)
    name = renamed(client, experiment)
    assert set(sync().values()) == {"synced"}
    assert project_of(server, run_id) == project.format(name=name)
    assert properties(task_of(server, run_id))["mlflow_experiment"] == name
    assert set(sync().values()) == {"unchanged"}


def test_a_task_that_a_person_has_moved_stays(server: ClearMLServer, client: MlflowClient, experiment: str) -> None:
    moved, other = a_run(client, experiment, "moved"), a_run(client, experiment, "other")
    sync()
    Session().call("tasks.move", ids=[task_of(server, moved)["id"]], project_name="chosen by a person")
    assert sync() == {"moved": "unchanged", "other": "unchanged"}
    name = renamed(client, experiment)
    sync()
    assert (project_of(server, moved), project_of(server, other)) == ("chosen by a person", name)
    assert sync() == {"moved": "unchanged", "other": "unchanged"}


def test_published_and_archived_tasks_follow(server: ClearMLServer, client: MlflowClient, experiment: str) -> None:
    published, deleted = a_run(client, experiment, "published"), a_run(client, experiment, "deleted")
    sync()
    Session().call("tasks.publish", task=task_of(server, published)["id"])
    client.delete_run(deleted)
    sync()
    name = renamed(client, experiment)
    sync()
    assert {project_of(server, run_id) for run_id in (published, deleted)} == {name}
    assert task_of(server, published)["status"] == "published"
    assert "archived" in task_of(server, deleted)["system_tags"]
    assert sync() == {"published": "unchanged", "deleted": "unchanged"}


def test_a_lost_property_is_written_again(server: ClearMLServer, client: MlflowClient, experiment: str) -> None:
    """Without it, the experiment that named the project is not known: the Task stays where it is."""
    run_id = a_run(client, experiment)
    sync()
    formerly, name = project_of(server, run_id), renamed(client, experiment)
    lost = {"section": "properties", "name": "mlflow_experiment"}
    Session().call("tasks.delete_hyper_params", task=task_of(server, run_id)["id"], force=True, hyperparams=[lost])
    of = TaskOfRun(find_run(run_id), task_of(server, run_id), Settings(), str)
    assert [difference.what for difference in Project().glance(of)] == ["project"]
    sync()
    assert (project_of(server, run_id), properties(task_of(server, run_id))["mlflow_experiment"]) == (formerly, name)
    assert sync() == {"one": "unchanged"}


def test_a_setting_that_a_person_has_changed_stays() -> None:
    """A clone's run goes to the experiment that the person has named."""
    text = "MLFLOW_EXPERIMENT_NAME={}\nAUTOINSTRUMENT_TASK=before\n"
    assert travelling.with_experiment(text.format("before"), "before", "after") == text.format("after")
    assert travelling.with_experiment(text.format("mine"), "before", "after") == text.format("mine")


def test_two_experiments_may_swap_their_names(server: ClearMLServer, client: MlflowClient, experiment: str) -> None:
    first = client.get_experiment(experiment).name
    other = client.create_experiment(f"{first} B")
    runs = {"one": a_run(client, experiment, "one"), "two": a_run(client, other, "two")}
    sync()
    client.rename_experiment(experiment, f"{first} C")
    client.rename_experiment(other, first)
    client.rename_experiment(experiment, f"{first} B")
    sync()
    assert {name: project_of(server, run_id) for name, run_id in runs.items()} == {"one": f"{first} B", "two": first}
    assert sync() == {"one": "unchanged", "two": "unchanged"}


def test_the_tasks_of_a_deleted_experiment_are_archived(
    server: ClearMLServer, client: MlflowClient, experiment: str
) -> None:
    """ClearML archives no project: it stays, with Tasks that can be looked at in its archive."""
    run_id = a_run(client, experiment)
    name = renamed(client, experiment)
    sync()
    client.delete_experiment(experiment)
    assert sync() == {"one": "synced"}
    assert "archived" in task_of(server, run_id)["system_tags"]
    assert sync() == {"one": "unchanged"}
    client.restore_experiment(experiment)
    assert sync() == {"one": "synced"}
    assert "archived" not in task_of(server, run_id)["system_tags"]
    assert project_of(server, run_id) == name


def test_a_follower_notices_a_new_name_in_the_next_round(
    server: ClearMLServer, client: MlflowClient, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of runs that ended long ago, which such a round does not compare else."""
    run_id = a_run(client, experiment, ended_ms=1_600_000_000_000)
    rounds = list[str]()

    def after_a_round(_: float) -> None:
        rounds.append(project_of(server, run_id))
        if len(rounds) == 3:
            raise KeyboardInterrupt
        renamed(client, experiment)

    monkeypatch.setattr(follow_command.signal, "signal", lambda number, handler: None)
    monkeypatch.setattr(follow_command.time, "sleep", after_a_round)
    name = client.get_experiment(experiment).name
    done = CliRunner().invoke(main, ["sync", "--experiment", name, "--follow"])
    assert done.exit_code == 0, done.output
    assert rounds == [name, f"{name} 2", f"{name} 2 2"]


@pytest.mark.parametrize(
    "endpoint", ["models.move", "tasks.move", "tasks.edit_configuration", "tasks.edit_hyper_params"]
)
def test_a_sync_that_was_cut_off_is_repeated(
    server: ClearMLServer, client: MlflowClient, experiment: str, endpoint: str
) -> None:
    run_id = a_run(client, experiment)
    sync()
    before = task_of(server, run_id)
    Session().call("models.create", name="model", uri="file:///m", task=before["id"], project=before["project"])
    keep_a_task(Session(), before)
    name = renamed(client, experiment)
    fault = server.faults.add(Fault(endpoint, status=503))
    assert CliRunner().invoke(main, ["sync", "--all"]).exit_code == 1
    server.faults.remove(fault)
    assert sync() == {"one": "synced"}
    assert project_of(server, run_id) == name
    assert [server.project_name(m["project"]) for m in server.models if m.get("task") == before["id"]] == [name]


def test_a_resumed_run_follows_at_once(
    server: ClearMLServer, client: MlflowClient, experiment: str, tmp_path: Path
) -> None:
    """In another process, and in one that has had the run before."""
    run_id = a_run(client, experiment)
    sync()
    session = Session()

    def described() -> Any:
        return open_run(client.tracking_uri, run_id).run._replace(owned=True)

    name = renamed(client, experiment)
    mirror = RunMirror(
        RunJournals(Settings(home=str(tmp_path))).of(described(), PROCESS), Settings(), Tasks(session),
        Uploads(FileUploads(session)),
    )  # fmt: skip
    mirror.flush()
    assert project_of(server, run_id) == name
    mirror.end_as(End("completed", "", ""))
    mirror.flush()
    name = renamed(client, experiment)
    mirror.reopen(described())
    mirror.flush()
    assert project_of(server, run_id) == name
    assert properties(task_of(server, run_id))["mlflow_experiment"] == name
