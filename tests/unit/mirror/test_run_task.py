"""A run has one Task, whatever the server answers, below the Task of its parent, whichever of the two comes first."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from autoinstrument.clearml_api import attempts
from autoinstrument.clearml_api.errors import HiccupError, UnavailableError
from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.task import awaiting
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.records import ParamsLogged, RunStarted
from autoinstrument.settings import Settings
from autoinstrument.worker.live_run import LiveRun
from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.harness import section
from tests.end_to_end.processes import wait_for
from tests.unit.mirror.runs import PROCESS

RUN = RunStarted("c" * 32, "child", "0", "exp", "sqlite:////x", "", "", 0, "p" * 32, {}, False, True, "")


@pytest.mark.parametrize("known_after", [0, 1, 2], ids=["before the Task", "while it runs", "never"])
def test_a_task_is_placed_below_its_parents(server: ClearMLServer, tmp_path: Path, known_after: int) -> None:
    session = Session()
    tasks = Tasks(session)
    parent = tasks.create("project", {"name": "parent", "type": "training"}).id
    flushes = 0
    mirror = RunMirror(
        RunJournal(tmp_path / "captures" / RUN.run_id, RUN, PROCESS), Settings(), tasks, Uploads(FileUploads(session)),
        parent_task=lambda: parent if flushes >= known_after else "",
    )  # fmt: skip
    mirror.flush()
    flushes += 1
    mirror.end_as(End("completed", "", ""))
    mirror.flush()
    (task,) = [task for task in server.tasks if task["name"] == "child"]
    assert (task["status"], task.get("parent")) == ("completed", parent if known_after < 2 else None)


def a_run(folder: Path, run: RunStarted = RUN, python: str = "3.11") -> LiveRun:
    session = Session()
    journal = RunJournal(folder / "captures" / RUN.run_id, run, PROCESS)
    journal.script = {"entry_point": f"of {'its own' if run.owned else 'another'} process"}
    journal.requirements = f"# Python {python}\n"
    mirror = LiveRun(journal, Settings(), Tasks(session), Uploads(FileUploads(session)))
    mirror.take(ParamsLogged(RUN.run_id, [("a", "1", "")]))
    return mirror


@pytest.mark.parametrize(
    "fault",
    [
        Fault("tasks.create", times=3, status=500, when="after"),
        Fault("tasks.create", times=3, status=503, when="after"),
        Fault("tasks.create", times=3, status=429, retry_after=0, when="after"),
        Fault("tasks.create", times=3, action="drop", when="after"),
        Fault("tasks.create", times=3, status=400, when="after"),
        Fault("tasks.create", times=3, status=404, when="after"),
        Fault("tasks.create", times=3, status=502, when="after"),
        Fault("tasks.create", times=2, status=500),
        Fault("tasks.create", times=2, status=503),
    ],
    ids=lambda fault: f"{fault.action or fault.status} {fault.when}",
)
def test_a_task_is_made_once_though_the_attempt_seems_to_fail(
    server: ClearMLServer, tmp_path: Path, fault: Fault
) -> None:
    """Before another attempt it is looked for, and found if the server had made it."""
    server.faults.add(fault)
    mirror = a_run(tmp_path)
    mirror.flush()
    (task,) = server.tasks
    assert mirror.task is not None
    assert mirror.task.id == task["id"]
    assert (task["status"], section(task, "MLflow")) == ("in_progress", {"a": "1"})


def test_a_server_that_asks_for_a_long_pause_is_left_alone(server: ClearMLServer, tmp_path: Path) -> None:
    server.faults.add(Fault("tasks.create", status=429, retry_after=60, when="after", times=1))
    mirror = a_run(tmp_path)
    with pytest.raises(HiccupError):
        mirror.flush()
    assert len(server.calls("tasks.create")) == 1
    mirror.flush()
    (task,) = server.tasks
    assert mirror.task is not None
    assert mirror.task.id == task["id"]


def test_no_second_task_is_made_while_the_first_attempt_is_in_doubt(server: ClearMLServer, tmp_path: Path) -> None:
    server.faults.add(Fault("tasks.create", status=500, when="after"))
    server.faults.add(Fault("tasks.get_all", status=500))
    mirror = a_run(tmp_path)
    for _ in range(2):
        with pytest.raises(UnavailableError):
            mirror.flush()
    server.faults.clear()
    mirror.flush()
    (task,) = server.tasks
    assert section(task, "MLflow") == {"a": "1"}


def test_a_task_that_is_made_after_its_attempt_has_failed_goes_with_the_runs_end(
    server: ClearMLServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server hangs longer than a request may take, and handles it after another one has made the Task."""
    monkeypatch.setattr(attempts.Attempts.once, "__defaults__", (1.0,))
    hanging = server.faults.add(Fault("tasks.create", times=1, action="hang"))
    mirror = a_run(tmp_path)
    with pytest.raises(UnavailableError):
        mirror.flush()
    mirror.flush()
    assert [task["status"] for task in server.tasks] == ["in_progress"]
    server.faults.remove(hanging)
    wait_for(lambda: len(server.tasks) == 2)
    # Drawn up by a person for an agent that continues the run: it stays, although it was never started either.
    of_person = {**mirror._task.new_body(), "system_tags": [], "runtime": awaiting(RUN.run_id, "later")}
    drawn_up = Tasks(Session()).create("exp", of_person)
    mirror.end_as(End("completed", "", ""))
    mirror.flush()
    assert mirror.task is not None
    statuses = {task["id"]: task["status"] for task in server.tasks}
    assert statuses == {mirror.task.id: "completed", drawn_up.id: "created"}


def test_the_worker_is_killed_right_after_it_has_made_the_task(server: ClearMLServer, tmp_path: Path) -> None:
    """The next one looks for the Task that the journal does not name."""
    killed = a_run(tmp_path)
    Tasks(Session()).create("exp", killed._task.new_body())
    assert killed.journal.task_id == ""
    following = a_run(tmp_path, RUN._replace(resumed=True))
    following.flush()
    (task,) = server.tasks
    assert (task["id"], task["status"]) == (following.journal.task_id, "in_progress")


OF_ANOTHER_RANK = RUN._replace(owned=False, resumed=True)


def test_a_rank_on_another_machine_does_not_describe_the_task(server: ClearMLServer, tmp_path: Path) -> None:
    """Its packages are known only after it has found the Task of the run."""
    a_run(tmp_path / "one").flush()
    other = a_run(tmp_path / "other", OF_ANOTHER_RANK)
    other.flush()
    other.describe_again()
    other.flush()
    (task,) = server.tasks
    assert task["script"]["entry_point"] == "of its own process"


def test_a_task_that_another_program_describes_anew_has_its_arguments_alone(
    server: ClearMLServer, tmp_path: Path
) -> None:
    """A run that `MlflowClient` has made is resumed by the training: no clone may mix two command lines."""
    first = a_run(tmp_path / "one")
    first.journal.process = PROCESS._replace(arguments=[("queue", "gpu", ""), ("lr", "0.5", "")])
    first.flush()
    second = a_run(tmp_path / "two", RUN._replace(resumed=True))
    second.journal.process = PROCESS._replace(arguments=[("lr", "0.1", "")])
    second.flush()
    second.describe_again()
    second.flush()
    (task,) = server.tasks
    assert section(task, "Args") == {"lr": "0.1"}


def test_a_process_that_resumes_the_run_of_another_program_does_not_describe_the_task(
    server: ClearMLServer, tmp_path: Path
) -> None:
    a_run(tmp_path / "one").flush()
    other = a_run(tmp_path / "other", RUN._replace(resumed=True, begun_elsewhere=True), python="3.13")
    other.flush()
    other.describe_again()
    other.flush()
    (task,) = server.tasks
    assert task["script"]["requirements"]["pip"] == "# Python 3.11\n"


@pytest.mark.parametrize("is_late", [False, True], ids=["at the same moment", "cut off from ClearML"])
def test_a_rank_and_the_process_of_the_run_make_one_task(
    server: ClearMLServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_late: bool
) -> None:
    """The Task is described as the run's own process is, whoever has made it."""
    begun = int(time.time() * 1000) - 60_000 * is_late
    own = a_run(tmp_path / "one", RUN._replace(start_time_ms=begun), python="3.12")
    other = a_run(tmp_path / "other", OF_ANOTHER_RANK._replace(start_time_ms=begun))
    if is_late:  # the other one has waited, and made it
        other.flush()
        own.flush()
        assert len(server.calls("tasks.create")) == 1
    else:
        look, looks = Tasks.of_run, list[str]()

        def of_run(tasks: Tasks, run_id: str) -> str:
            looks.append(run_id)
            if len(looks) > 1:
                return look(tasks, run_id)
            own.flush()  # in the moment between looking for the Task and making it
            return ""

        monkeypatch.setattr(Tasks, "of_run", of_run)
        other.flush()
    own.describe_again()
    for mirror in (own, other):
        mirror.flush()
    (task,) = server.tasks
    assert {mirror.task.id for mirror in (own, other) if mirror.task} == {task["id"]}
    assert task["script"]["entry_point"] == "of its own process"
    assert task["script"]["requirements"]["pip"] == "# Python 3.12\n"
    assert section(task, "MLflow") == {"a": "1"}


@pytest.mark.parametrize("age_s", [0, 60])
def test_an_agent_that_comes_late_goes_on_with_a_followers_task(
    server: ClearMLServer, tmp_path: Path, age_s: int
) -> None:
    """A follower makes the Task of a run without link tags after some seconds; before that, no request is spent."""
    session = Session()
    tasks = Tasks(session)
    mirrors = []
    for name in ("a follower's", "the agent's"):
        run = RUN._replace(start_time_ms=int((time.time() - age_s) * 1000), parent_run_id="")
        journal = RunJournal(tmp_path / name / run.run_id, run, PROCESS)
        mirrors.append(RunMirror(journal, Settings(), tasks, Uploads(FileUploads(session))))
        server.clear_requests()
        mirrors[-1].flush()
    assert len(server.tasks) == (1 if age_s else 2)
    assert bool(server.calls("tasks.get_all")) == bool(age_s)
