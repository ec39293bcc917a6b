"""No ClearML server, or one that does not answer as it should: training ends as it would have, with one clear line."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

import pytest

from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.harness import Place, ended, link_tags, scalars, task_page
from tests.end_to_end.processes import AT_ONCE_S, Finished, wait_for
from tests.problems import OF_FAULTS

pytestmark = pytest.mark.may_report(OF_FAULTS)

SCRIPT = """
import mlflow, pathlib, sys, time
with mlflow.start_run(run_name="offline", description="a note"):
    mlflow.log_params({"lr": 0.1})
    for step in range(100):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    print("trained")
pathlib.Path("ended").write_text(str(time.time()))
"""


@pytest.fixture(scope="module")
def plain(new_place: Callable[[ClearMLServer | None], Place]) -> Finished:
    """The script without the agent."""
    place = new_place(None)
    place.run(SCRIPT, agent=False)
    return place.run("", command=["train.py"], agent=False)


def exit_seconds(place: Place) -> float:
    """Return how long the last script went on after its last line; call it as soon as it has ended."""
    return time.time() - float((place.folder / "ended").read_text())


def assert_recorded(place: Place, done: Finished, plain: Finished, word: str) -> None:
    """The run is pending, its journal is on disk for its owner alone, and one line says so and names the remedy."""
    assert (done.code, done.stdout) == (plain.code, plain.stdout)
    assert len(done.agent_lines) == 1, done.stderr
    assert word in done.agent_lines[0].lower()
    assert "autoinstrument sync" in done.agent_lines[0]
    assert "Traceback" not in done.stderr
    run = place.the_run()
    assert link_tags(run) == {"state": "pending"}
    (journal,) = place.journals()
    assert run.info.run_id in journal.name
    for path in [place.home, *place.home.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    wait_for(lambda: not place.left_behind())


def test_nothing_listens(own_place: Place, own_server: ClearMLServer, plain: Finished) -> None:
    own_server.close()
    done = own_place.run(SCRIPT)
    assert exit_seconds(own_place) < AT_ONCE_S
    assert_recorded(own_place, done, plain, "refused")


def test_nothing_listens_and_nothing_can_be_recorded(
    own_place: Place, own_server: ClearMLServer, plain: Finished
) -> None:
    """The line describes the disk truly, and its command makes the Task from MLflow's store."""
    file = own_place.folder / "not a folder"
    file.touch()
    done = own_place.run(SCRIPT, AUTOINSTRUMENT_HOME=str(file), CLEARML_API_HOST="http://127.0.0.1:9")
    assert (done.code, done.stdout) == (plain.code, plain.stdout)
    run = own_place.the_run()
    (line,) = [line for line in done.agent_lines if "autoinstrument sync" in line]
    assert f"not recorded on disk, `autoinstrument sync --run {run.info.run_id}`" in line
    assert own_place.command("sync", "--run", run.info.run_id).code == 0
    assert ended(own_server, run.info.run_id)["status"] == "completed"


def test_all_runs_are_pending_and_two_lines_say_why(own_place: Place, own_server: ClearMLServer) -> None:
    own_server.close()
    done = own_place.run("""
        import mlflow
        for number in range(3):
            with mlflow.start_run(run_name=f"run {number}"):
                mlflow.log_metric("loss", number)
        """)
    first, others = done.agent_lines
    names = re.match(r"autoinstrument: run (run \d): (.*)", first)
    assert names is not None, first  # several are tried at the same time, and one is the first to fail
    left = [f"run {number}" for number in range(3) if f"run {number}" != names[1]]
    assert others == f"autoinstrument: 2 runs ({', '.join(left)}): {names[2]}"
    assert "refused" in first
    assert [link_tags(run) for run in own_place.mlflow_runs()] == [{"state": "pending"}] * 3
    assert len(own_place.journals()) == 3


def test_no_credentials(new_place: Callable[[ClearMLServer | None], Place], plain: Finished) -> None:
    place = new_place(None)
    done = place.run(SCRIPT)
    assert exit_seconds(place) < AT_ONCE_S
    assert_recorded(place, done, plain, "credentials")


def test_wrong_credentials(own_place: Place, plain: Finished) -> None:
    done = own_place.run(SCRIPT, CLEARML_API_SECRET_KEY="wrong")
    assert exit_seconds(own_place) < AT_ONCE_S
    assert_recorded(own_place, done, plain, "credentials")


@pytest.mark.core
def test_a_server_that_hangs(own_place: Place, own_server: ClearMLServer, plain: Finished) -> None:
    """The end waits `AUTOINSTRUMENT_EXIT_TIMEOUT` seconds, and no longer."""
    own_server.faults.add(Fault(action="hang"))
    done = own_place.run(SCRIPT, AUTOINSTRUMENT_EXIT_TIMEOUT="3")
    assert exit_seconds(own_place) < 3 + AT_ONCE_S
    assert "within 3 s" in done.stderr  # and the server was not given up before
    assert (done.code, done.stdout) == (plain.code, plain.stdout)
    assert len(done.agent_lines) == 1, done.stderr
    assert "autoinstrument sync" in done.agent_lines[0]
    assert link_tags(own_place.the_run()) == {"state": "pending"}
    assert own_place.journals()


@pytest.mark.parametrize("detaches", [True, False], ids=["hangs", "does not start"])
def test_a_worker_that_is_too_slow(own_place: Place, plain: Finished, detaches: bool) -> None:
    """The machine may be busy; one line says where the run is, also if nothing but its id is known by then."""
    own_place.write(
        "slow.py",
        f"""
        import os, time
        if {detaches} and os.fork():
            os._exit(0)
        while not os.path.exists({str(own_place.folder / "over")!r}):
            time.sleep(0.1)
        """,
    )
    slow = str(own_place.folder / "slow.py")
    patch = f"from autoinstrument.transport import worker_process\nworker_process._program = lambda _: {slow!r}"
    done = own_place.run(patch + SCRIPT, AUTOINSTRUMENT_EXIT_TIMEOUT="2")
    own_place.write("over", "")
    assert (done.code, done.stdout) == (plain.code, plain.stdout)
    assert len(done.agent_lines) == 1, done.stderr
    assert "not delivered to ClearML within 2 s" in done.agent_lines[0]
    assert "autoinstrument sync" in done.agent_lines[0]
    wait_for(lambda: not own_place.workers())


def test_a_server_that_hung_gets_the_rest_by_sync(own_place: Place, own_server: ClearMLServer) -> None:
    """The worker that was waiting for it ends by itself."""
    own_server.faults.add(Fault(action="hang"))
    own_place.run(SCRIPT, AUTOINSTRUMENT_EXIT_TIMEOUT="1")
    wait_for(lambda: not own_place.workers())
    own_server.faults.clear()
    if link_tags(own_place.the_run()).get("state") != "synced":
        assert own_place.command("sync").code == 0
    task = ended(own_server, own_place.the_run().info.run_id)
    assert task["status"] == "completed"
    assert scalars(own_server, task["id"]) == own_place.points(own_place.the_run().info.run_id)
    assert link_tags(own_place.the_run())["state"] == "synced"
    assert len(own_server.tasks) == 1


def test_a_server_that_answers_500(own_place: Place, own_server: ClearMLServer, plain: Finished) -> None:
    own_server.faults.add(Fault(status=500))
    done = own_place.run(SCRIPT)
    assert exit_seconds(own_place) < AT_ONCE_S
    assert_recorded(own_place, done, plain, "500")


@pytest.mark.parametrize(
    "fault",
    [
        Fault(endpoints="tasks.create", status=503, times=1),
        Fault(endpoints="events.add_batch", status=500, times=2),
        Fault(endpoints="events.add_batch", status=500, times=1, when="after"),
        Fault(endpoints="*", status=429, retry_after=1, times=2),
        Fault(endpoints="tasks.completed", action="drop", times=1),
    ],
    ids=["503 once", "500 twice", "500 after it took effect", "429", "dropped connection"],
)
def test_a_single_failure_leaves_no_trace(own_place: Place, own_server: ClearMLServer, fault: Fault) -> None:
    """The request is retried: one complete Task, and no message."""
    own_server.faults.add(fault)
    done = own_place.run(SCRIPT)
    assert done.code == 0
    assert len(done.agent_lines) == 1, done.stderr
    run = own_place.the_run()
    task = ended(own_server, run.info.run_id)
    assert task["status"] == "completed"
    assert scalars(own_server, task["id"]) == own_place.points(run.info.run_id)
    wait_for(lambda: link_tags(own_place.the_run())["state"] == "synced")
    assert len(own_server.tasks) == 1


def test_an_outage_in_the_middle_is_caught_up(own_place: Place, own_server: ClearMLServer) -> None:
    """The server is away for some seconds while the script logs; at the end nothing is missing."""
    script = """
        import pathlib, time, mlflow
        with mlflow.start_run():
            for step in range(100):
                mlflow.log_metric("loss", step, step=step)
                if step == 30:
                    time.sleep(3)
                    pathlib.Path("ready").write_text("now")
                if step > 30:
                    time.sleep(0.1)
                print("step", step)
        """
    started = own_place.start(script)
    wait_for((own_place.folder / "ready").exists)
    own_server.close()
    time.sleep(3)
    own_server.start()
    done = started.finish()
    assert done.code == 0
    run = own_place.the_run()
    task = ended(own_server, run.info.run_id)
    assert task["status"] == "completed"
    assert scalars(own_server, task["id"]) == own_place.points(run.info.run_id)
    lines = own_server.console(task["id"]).splitlines()
    assert [line for line in lines if line.startswith("step ")] == [f"step {n}" for n in range(100)]
    assert link_tags(run)["state"] == "synced"
    assert f"is ClearML Task {task_page(own_server, task)}" in done.agent_lines[-1]  # and not that it must be synced


@pytest.mark.parametrize(
    ("variable", "value"),
    [("WORKER", "fiber"), ("PROJECT", "{nonsense}")],
)
def test_a_bad_setting_is_reported_once_and_the_agent_stays_off(
    own_place: Place, own_server: ClearMLServer, plain: Finished, variable: str, value: str
) -> None:
    """One line names the variable, its value and what is allowed."""
    done = own_place.run(SCRIPT, **{f"AUTOINSTRUMENT_{variable}": value})
    assert (done.code, done.stdout) == (plain.code, plain.stdout)
    (line,) = done.agent_lines
    assert f"AUTOINSTRUMENT_{variable}" in line
    assert value in line
    assert own_server.requests == []
    assert link_tags(own_place.the_run()) == {}
    assert own_place.journals() == []


def test_the_journal_holds_no_credentials(own_place: Place, own_server: ClearMLServer) -> None:
    """Neither of the ClearML server nor of the command line."""
    own_server.close()
    own_place.run(SCRIPT, "--password", "sesame")
    text = "".join(path.read_text() for path in own_place.home.rglob("*") if path.is_file())
    assert "sesame" not in text
    assert own_server.credentials.secret_key not in text
    (journal,) = own_place.journals()
    assert json.loads((journal / "capture.json").read_text())["version"]
