"""`sync` of a tracking server makes and repairs the Tasks of runs that the agent has never seen."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from mlflow.entities import Metric, Param
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient

from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.cli import main
from autoinstrument.journal.run_journal import RunJournal, RunJournals
from autoinstrument.mirror.completion import complete
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mlflow_store.run_reader import open_run
from autoinstrument.settings import Settings
from tests.clearml_server import ClearMLServer
from tests.end_to_end.conftest import database as database
from tests.end_to_end.harness import link_tags, scalars, section, task_of, tasks_of
from tests.unit.conftest import running_server, sdk_task
from tests.unit.mirror.runs import PROCESS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def server() -> Iterator[ClearMLServer]:
    with running_server() as running:
        yield running


def autoinstrument(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def a_run(client: MlflowClient, name: str, *, parent: str = "", status: str = "FINISHED", points: int = 20) -> str:
    """Log a run as it would have been logged without the agent; "" as status leaves it running."""
    tags = {"mlflow.source.name": "/work/train.py", "mlflow.source.git.commit": "a" * 40, "team": "vision"}
    if parent:
        tags["mlflow.parentRunId"] = parent
    experiment = client.get_experiment_by_name("old")
    experiment_id = experiment.experiment_id if experiment else client.create_experiment("old")
    info = client.create_run(experiment_id, run_name=name, tags=tags).info
    run_id = info.run_id
    metrics = [Metric("train/loss", 1 / (n + 1), 1_600_000_000_000 + n, n) for n in range(points)]
    client.log_batch(run_id, metrics, [Param("lr", "0.1")])
    report = Path(info.artifact_uri.removeprefix("file://")) / "report.txt"  # `log_text` would read the run for it
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("all is well")
    if status:
        client.set_terminated(run_id, status)
    return str(run_id)


def outcomes(*arguments: str) -> dict[str, str]:
    """Return the outcome of each run, by name."""
    done = autoinstrument(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return {outcome["run_name"]: outcome["result"] for outcome in json.loads(done.stdout)}


def edit(server: ClearMLServer, run_id: str, **fields: Any) -> None:
    """Edit a run's Task, as a person does in ClearML."""
    Session().call("tasks.edit", task=task_of(server, run_id)["id"], force=True, **fields)


def mirrored(client: MlflowClient, run_id: str, home: Path, **more: Any) -> None:
    """Complete a run's Task as the worker does for a process that begins the run, or resumes it."""
    run = open_run(client.tracking_uri, run_id).run
    journal = RunJournals(Settings(home=str(home))).of(run._replace(**more), PROCESS)
    session = Session()
    mirror = RunMirror(journal, Settings(), Tasks(session), Uploads(FileUploads(session)))
    complete(mirror, client.tracking_uri, end=End("completed", "", ""))


def state(server: ClearMLServer, client: MlflowClient, run_id: str) -> list[Any]:
    task = task_of(server, run_id)
    return [task, server.events(task["id"]), client.get_run(run_id).to_dictionary()]


def test_runs_from_before_the_agent_get_their_tasks(server: ClearMLServer, client: MlflowClient) -> None:
    parent = a_run(client, "parent", status="FAILED")
    child = a_run(client, "child", parent=parent)
    done = autoinstrument("sync", "--all")
    assert done.exit_code == 0, done.output
    task = task_of(server, child)
    assert task["parent"] == task_of(server, parent)["id"]
    assert (task["status"], task_of(server, parent)["status"]) == ("completed", "failed")
    assert section(task, "MLflow") == {"lr": "0.1"}
    assert len(scalars(server, task["id"])) == 20
    assert "report.txt" in [artifact["key"] for artifact in task["execution"]["artifacts"]]
    assert task["script"]["version_num"] == "a" * 40
    assert link_tags(client.get_run(child))["state"] == "synced"


def test_runs_are_read_together(server: ClearMLServer, client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most have no models and no traces, and would be asked for each: a third of the time of `sync`."""
    names = [f"run {number}" for number in range(4)]
    ids = [a_run(client, name) for name in names]
    client.create_registered_model("net")
    client.create_model_version("net", "s3://bucket/net", ids[2])
    asked: Counter[str] = Counter()
    for name in ("get_run", "search_traces", "search_logged_models"):
        called = getattr(SqlAlchemyStore, name)

        def counted(*arguments: Any, _name: str = name, _called: Any = called, **options: Any) -> Any:
            asked[_name] += 1
            return _called(*arguments, **options)

        monkeypatch.setattr(SqlAlchemyStore, name, counted)
    assert outcomes("sync", "--all") == dict.fromkeys(names, "synced")
    assert asked == {"search_traces": 1, "search_logged_models": 1}
    assert [model["name"] for model in server.models] == ["net"]
    clean = autoinstrument("verify")
    assert clean.exit_code == 0, clean.output


def test_a_child_that_ended_before_its_parent_gets_its_parent_later(
    server: ClearMLServer, client: MlflowClient
) -> None:
    parent = a_run(client, "sweep", status="")
    child = a_run(client, "trial", parent=parent)
    assert autoinstrument("sync", "--all").exit_code == 0
    assert not task_of(server, child).get("parent")
    assert tasks_of(server, parent) == []
    client.set_terminated(parent)
    assert autoinstrument("sync", "--all").exit_code == 0
    assert autoinstrument("sync", "--all").exit_code == 0  # both were looked up before the parent's was made
    assert task_of(server, child)["parent"] == task_of(server, parent)["id"]
    server.clear_requests()
    assert autoinstrument("sync", "--all").exit_code == 0
    assert not [call for call in server.requests if "edit" in call.endpoint]


def test_a_second_sync_writes_nothing(server: ClearMLServer, client: MlflowClient) -> None:
    run_id = a_run(client, "twice")
    assert autoinstrument("sync", "--experiment", "old").exit_code == 0
    before = (
        task_of(server, run_id),
        server.events(task_of(server, run_id)["id"]),
        client.get_run(run_id).to_dictionary(),
    )
    server.clear_requests()
    assert autoinstrument("sync", "--experiment", "old").exit_code == 0
    after = (
        task_of(server, run_id),
        server.events(task_of(server, run_id)["id"]),
        client.get_run(run_id).to_dictionary(),
    )
    assert after == before
    asked = {request.endpoint for request in server.requests}
    reading = (".login", ".get_all", ".get_by_id", ".get_configurations")
    assert all(name.endswith(reading) for name in asked), asked


def test_changes_made_afterwards_reach_the_task(server: ClearMLServer, client: MlflowClient) -> None:
    changed, deleted = a_run(client, "before"), a_run(client, "unwanted")
    assert autoinstrument("sync", "--all").exit_code == 0
    client.update_run(changed, name="after")
    client.set_tag(changed, "stage", "production")
    client.delete_tag(changed, "team")
    client.log_metric(changed, "late", 1.5, step=3)
    client.delete_run(deleted)
    assert autoinstrument("sync", "--all").exit_code == 0
    task = task_of(server, changed)
    assert task["name"] == "after"
    tags = section(task, "MLflow tags")
    assert tags["stage"] == "production"
    assert "team" not in tags
    assert scalars(server, task["id"])["late", 3][0] == 1.5
    assert "archived" in task_of(server, deleted)["system_tags"]


def test_a_task_with_another_programs_artifact_is_completed(server: ClearMLServer, client: MlflowClient) -> None:
    """What such an artifact shows may be numbers: ClearML's server takes them."""
    run_id = a_run(client, "with an artifact")
    outcomes("sync", "--run", run_id)
    shown = {"key": "data", "type": "numpy", "uri": "http://x", "display_data": [["rows", 3], ["share", 0.5]]}
    edit(server, run_id, execution={"artifacts": [shown]})
    client.log_metric(run_id, "late", 1.0)
    assert outcomes("sync", "--run", run_id) == {"with an artifact": "synced"}
    artifacts = {each["key"]: each for each in task_of(server, run_id)["execution"]["artifacts"]}
    assert artifacts["data"]["display_data"] == shown["display_data"]
    assert "report.txt" in artifacts


def test_a_persons_comment_on_a_task_is_left_alone(server: ClearMLServer, client: MlflowClient) -> None:
    """A run without a note leaves the comment alone; one with a note replaces it."""
    commented, noted = a_run(client, "commented"), a_run(client, "noted")
    client.set_tag(noted, "mlflow.note.content", " ours \n")
    assert autoinstrument("sync", "--all").exit_code == 0
    for run_id in (commented, noted):
        edit(server, run_id, comment="looks good, keep")
    assert outcomes("sync", "--all") == {"commented": "unchanged", "noted": "synced"}
    assert outcomes("sync", "--all") == {"commented": "unchanged", "noted": "unchanged"}
    assert autoinstrument("verify").exit_code == 0
    assert task_of(server, commented)["comment"] == "looks good, keep"
    assert task_of(server, noted)["comment"].strip() == "ours"


@pytest.mark.parametrize(
    ("system_tags", "comment"), [(["development"], "own comment"), ([], "")], ids=["of a script", "of an agent"]
)
def test_a_task_that_a_run_has_taken_over_stays_its_owners(
    server: ClearMLServer, client: MlflowClient, tmp_path: Path, system_tags: list[str], comment: str
) -> None:
    """Its owner may be at work on it: a Task that is ended, or archived, is stopped there by the SDK or the agent."""
    call, parent = Session().call, a_run(client, "parent")
    made = {"name": "own name", "comment": comment, "type": "training", "system_tags": system_tags}
    task_id = call("tasks.create", **made)["id"]
    call("tasks.started", task=task_id)
    run_id = a_run(client, "taking over", parent=parent, status="")
    mirrored(client, run_id, tmp_path, owned=True, resumed=False, task_id=task_id)
    client.set_terminated(run_id)
    assert outcomes("sync", "--all") == {"parent": "synced", "taking over": "unchanged"}
    assert outcomes("sync", "--all") == {"parent": "unchanged", "taking over": "unchanged"}

    def assert_own(status: str, *, note: str = "") -> None:
        task = server.task(task_id)
        assert (task["name"], task["comment"], task["status"]) == ("own name", comment or note, status)
        assert task["system_tags"] == system_tags
        clean = autoinstrument("verify", run_id)
        assert clean.exit_code == 0, clean.output

    assert_own("in_progress")
    client.update_run(run_id, name="renamed")
    client.log_param(run_id, "late", 1)
    client.set_tag(run_id, "mlflow.note.content", "a note")
    client.delete_run(run_id)
    assert outcomes("sync", "--all")["renamed"] == "synced"
    assert outcomes("sync", "--all")["renamed"] == "unchanged"
    assert_own("in_progress", note="a note")
    assert section(server.task(task_id), "MLflow")["late"] == "1"
    client.restore_run(run_id)
    call("tasks.failed", task=task_id)
    mirrored(client, run_id, tmp_path, owned=True, resumed=True)
    assert_own("failed", note="a note")


@pytest.mark.parametrize("status", ["created", "queued", "in_progress", "completed"])
def test_a_clone_is_not_taken_for_the_runs_task(server: ClearMLServer, client: MlflowClient, status: str) -> None:
    """It has all that leads back to the run, and is a person's, also when its origin is deleted: in whatever status."""
    call, run_id = Session().call, a_run(client, "cloned")
    assert autoinstrument("sync", "--run", run_id).exit_code == 0
    origin = task_of(server, run_id)["id"]
    clone = call("tasks.clone", task=origin, new_task_name="my draft")["id"]
    call("tasks.edit", task=clone, status=status, force=True)
    call("tasks.delete", task=origin, force=True)
    before = server.task(clone)
    missing = autoinstrument("verify", run_id)
    assert f"the Task {origin} is gone" in missing.output
    assert outcomes("sync", "--all") == {"cloned": "synced"}
    assert server.task(clone) == before
    assert len(tasks_of(server, run_id)) == 2
    assert outcomes("sync", "--all") == {"cloned": "unchanged"}
    clean = autoinstrument("verify", run_id)
    assert clean.exit_code == 0, clean.output


def test_a_run_with_another_runs_link_gets_a_task_of_its_own(server: ClearMLServer, client: MlflowClient) -> None:
    """Runs that are copied to another store, or by hand, bring the tags of their origin along."""
    first, copied = a_run(client, "first"), a_run(client, "copied")
    assert autoinstrument("sync", "--run", first).exit_code == 0
    client.set_tag(copied, "clearml.task_id", task_of(server, first)["id"])
    client.set_tag(copied, "clearml.state", "synced")
    assert outcomes("sync", "--all") == {"first": "unchanged", "copied": "synced"}
    assert (task_of(server, first)["name"], task_of(server, copied)["name"]) == ("first", "copied")
    assert outcomes("sync", "--all") == {"first": "unchanged", "copied": "unchanged"}


def test_runs_that_may_be_at_work_are_left_alone(server: ClearMLServer, client: MlflowClient) -> None:
    run_id = a_run(client, "busy", status="")
    done = autoinstrument("sync", "--all")
    assert done.exit_code == 0
    assert "busy: running" in done.output
    assert tasks_of(server, run_id) == []


def test_deleted_runs_get_tasks_on_request_only(server: ClearMLServer, client: MlflowClient) -> None:
    run_id = a_run(client, "trash")
    client.delete_run(run_id)
    assert autoinstrument("sync", "--all").exit_code == 0
    assert tasks_of(server, run_id) == []
    assert autoinstrument("sync", "--all", "--deleted").exit_code == 0
    assert "archived" in task_of(server, run_id)["system_tags"]


def test_verify_of_a_deleted_run_looks_for_an_archived_task(server: ClearMLServer, client: MlflowClient) -> None:
    """Also where the run was deleted before it had a Task: it takes no tags any more."""
    linked, unlinked = a_run(client, "linked trash"), a_run(client, "unlinked trash")
    client.delete_run(unlinked)
    assert autoinstrument("sync", "--all", "--deleted").exit_code == 0
    client.delete_run(linked)
    found = autoinstrument("verify", linked, unlinked)
    assert found.exit_code == 1
    assert found.output.count("not archived") == 1
    assert "1 the same, 1 different" in found.output
    for change in (None, client.restore_run):
        if change:
            change(linked)
            assert "status: archived" in autoinstrument("verify", linked).output
        assert autoinstrument("sync", "--all").exit_code == 0
        clean = autoinstrument("verify", linked, unlinked)
        assert clean.exit_code == 0, clean.output


def test_of_two_syncs_that_make_the_same_task_one_gives_way(
    server: ClearMLServer, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process creates the Task between the search and the request to create it: the older Task is kept."""
    run_id = a_run(client, "raced")
    create, others = Tasks.create, []

    def raced(tasks: Tasks, project: str, body: dict[str, Any]) -> Any:
        if not others:
            others.append(create(tasks, project, body).id)
        return create(tasks, project, body)

    monkeypatch.setattr(Tasks, "create", raced)
    assert autoinstrument("sync", "--run", run_id).exit_code == 0
    task = task_of(server, run_id)
    assert [task["id"]] == others
    assert (task["status"], len(scalars(server, task["id"]))) == ("completed", 20)


@pytest.mark.interpreter
def test_many_jobs_do_the_work_of_one(server: ClearMLServer, client: MlflowClient) -> None:
    parent = a_run(client, "root", points=2)
    ids = [parent, *(a_run(client, f"leaf {n}", parent=parent, points=2) for n in range(6))]
    done = autoinstrument("sync", "--all", "--jobs", "2")
    assert done.exit_code == 0, done.output
    assert len(tasks_of(server, *ids)) == len(ids)
    assert {task.get("parent") for task in tasks_of(server, *ids[1:])} == {task_of(server, parent)["id"]}


def test_an_impossible_selection_is_wrong_usage(client: MlflowClient) -> None:
    assert autoinstrument("sync", "--experiment", "no such").exit_code == 2
    assert autoinstrument("sync", "--since", "yesterday").exit_code == 2
    assert autoinstrument("sync", "--run", "0" * 32).exit_code == 1


def test_verify_finds_differences_and_names_the_repair(server: ClearMLServer, client: MlflowClient) -> None:
    run_id = a_run(client, "compared")
    client.log_metric(run_id, "odd", float("nan"))
    client.log_metric(run_id, "odd", 0.1)
    missing = autoinstrument("verify", run_id)
    assert missing.exit_code == 1
    assert "there is no Task" in missing.output
    assert autoinstrument("sync", "--run", run_id).exit_code == 0
    clean = autoinstrument("verify")
    assert clean.exit_code == 0, clean.output
    client.log_metric(run_id, "train/loss", 9.0, step=100)
    client.log_text(run_id, "all is lost", "report.txt")
    client.log_text(run_id, "more", "more.txt")
    found = autoinstrument("verify", "--json", run_id)
    assert found.exit_code == 1
    (report,) = json.loads(found.output)["different"]
    assert {difference["what"] for difference in report["differences"]} == {"metric", "artifact"}
    repaired = autoinstrument(*report["repair"].split()[1:])
    assert repaired.exit_code == 0
    clean = autoinstrument("verify", run_id)
    assert clean.exit_code == 0, clean.output


def test_verify_reports_a_missing_run(client: MlflowClient, server: ClearMLServer) -> None:
    done = autoinstrument("verify", "0" * 32)
    assert done.exit_code == 1
    assert "there is no run" in done.output
    assert autoinstrument("verify", "--no-such-option").exit_code == 2


def test_a_sync_that_is_killed_half_way_is_continued(
    server: ClearMLServer, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whatever request it ends, the next sync comes to the state that one alone would have come to."""
    run_id = a_run(client, "interrupted", points=5000)
    call, left = Session.call, [0]

    def killed(session: Session, action: str, /, **body: Any) -> dict[str, Any]:
        answer = call(session, action, **body)
        left[0] -= not action.endswith((".get_all", ".get_by_id"))
        if left[0] == 0:
            raise KeyboardInterrupt
        return answer

    for left[0] in range(1, 6):
        with monkeypatch.context() as patch:
            patch.setattr(Session, "call", killed)
            autoinstrument("sync", "--run", run_id)
    done = autoinstrument("sync", "--run", run_id)
    assert done.exit_code == 0, done.output
    assert len(tasks_of(server, run_id)) == 1
    clean = autoinstrument("verify", run_id)
    assert clean.exit_code == 0, clean.output


def test_a_run_of_another_machine_is_ended_when_that_is_silent(
    server: ClearMLServer, client: MlflowClient, tmp_path: Path
) -> None:
    """AUTOINSTRUMENT_HOME is shared: a run with a heartbeat is left alone, however dead its process looks from here."""
    run_id = a_run(client, "far away", status="")
    run = open_run(client.tracking_uri, run_id).run
    journal = RunJournal(tmp_path / "home" / "captures" / run_id, run._replace(owned=True), PROCESS)
    journal.kept, journal.machine, journal.worker_pid = True, "elsewhere", 1
    journal.save()
    done = autoinstrument("sync")
    assert "far away: running: it was at work on host" in done.output
    assert tasks_of(server, run_id) == []
    os.utime(journal.folder / "capture.json", (0, 0))
    done = autoinstrument("sync")
    assert done.exit_code == 0, done.output
    task = task_of(server, run_id)
    assert (task["status"], len(scalars(server, task["id"]))) == ("stopped", 20)
    assert not journal.folder.exists()


@pytest.mark.parametrize("order", ["by step", "by time"])
def test_a_long_history_is_sent_once_and_compared_in_pages(
    server: ClearMLServer, client: MlflowClient, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    """Over many pages: steps that come again, what was added since, what is other on the Task; only that is sent."""
    if order == "by time":  # as `mlflow server` has them
        monkeypatch.setattr("autoinstrument.mlflow_store.metric_history._READERS", {})
    monkeypatch.setattr("autoinstrument.mlflow_store.metric_history._POINTS", 100)
    monkeypatch.setattr("autoinstrument.mirror.kinds.drawn_points.MAX_REMEMBERED", 60)
    monkeypatch.setattr("autoinstrument.mirror.kinds.scalar_diff.WINDOW", 60)
    run_id = a_run(client, "long", points=950)
    client.log_batch(run_id, [Metric("train/loss", 2.0, 1_600_000_001_000 + n, n) for n in range(500)])
    assert autoinstrument("sync", "--run", run_id).exit_code == 0
    task = task_of(server, run_id)
    curve = {step: value for (_, step), (value, _) in scalars(server, task["id"]).items()}
    assert curve == {n: 2.0 if n < 500 else pytest.approx(1 / (n + 1)) for n in range(950)}
    client.log_metric(run_id, "train/loss", 3.0, 1_600_000_002_000, 2000)
    server.clear_requests()
    assert autoinstrument("sync", "--full", "--run", run_id).exit_code == 0
    sent = [event for request in server.requests if request.endpoint == "events.add_batch" for event in request.body]
    assert [event["iter"] for event in sent] == [2000]
    server.clear_requests()
    assert autoinstrument("sync", "--full", "--run", run_id).exit_code == 0
    assert not server.calls("events.add_batch")
    assert autoinstrument("verify", run_id).exit_code == 0


def test_long_histories_of_one_curve_are_drawn_as_verify_compares_them(
    server: ClearMLServer, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Points of other metrics, which come between in MLflow, would make the first one's forgotten."""
    monkeypatch.setattr("autoinstrument.mirror.kinds.drawn_points.MAX_REMEMBERED", 60)
    run_id = a_run(client, "two of one curve", points=0, status="")
    times = {"a": 1_600_000_002_000, "a/Z": 1_600_000_000_000, "a/a": 1_600_000_001_000}
    for value, (key, time_ms) in enumerate(times.items()):
        client.log_batch(run_id, [Metric(key, float(value), time_ms + n, n) for n in range(40)])
    client.set_terminated(run_id)
    assert list(client.get_run(run_id).data.metrics) == list(times)
    assert autoinstrument("sync", "--run", run_id).exit_code == 0
    drawn = scalars(server, task_of(server, run_id)["id"])
    assert {value for (name, _), (value, _) in drawn.items() if name == "a"} == {0.0}, drawn
    verified = autoinstrument("verify", run_id)
    assert verified.exit_code == 0, verified.output


def test_an_artifact_that_was_deleted_in_the_store_goes_too(server: ClearMLServer, client: MlflowClient) -> None:
    """A store that lists nothing may be away, as a folder that is not mounted: then all stay."""
    run_id = a_run(client, "cleaned up")
    client.log_text(run_id, "a model", "old/weights.txt")
    assert autoinstrument("sync", "--all").exit_code == 0
    task_id = task_of(server, run_id)["id"]
    root = Path(client.get_run(run_id).info.artifact_uri.removeprefix("file://"))
    (root / "old" / "weights.txt").unlink()
    verified = autoinstrument("verify", run_id)
    assert "artifact: old/weights.txt: no longer in MLflow" in verified.stdout
    assert autoinstrument("sync", "--full", "--run", run_id).exit_code == 0
    assert "report.txt" in sdk_task(task_id).artifacts
    assert "old/weights.txt" not in sdk_task(task_id).artifacts
    assert autoinstrument("verify", run_id).exit_code == 0
    shutil.rmtree(root)
    assert autoinstrument("verify", run_id).exit_code == 0
    assert autoinstrument("sync", "--full", "--run", run_id).exit_code == 0
    assert "report.txt" in sdk_task(task_id).artifacts
