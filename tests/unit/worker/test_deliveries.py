"""Runs are delivered beside each other: in common requests, and without waiting for one that takes long."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoinstrument.clearml_api.errors import RefusedError, UnavailableError
from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.guard import guard
from autoinstrument.journal.run_journal import RunJournals
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.records import (
    ConsoleWritten,
    Delivered,
    MetricsLogged,
    ParamsLogged,
    ProcessExiting,
    RunEnded,
    RunLinked,
    RunStarted,
    RunTagged,
    WorkerReady,
)
from autoinstrument.settings import Settings
from autoinstrument.transport.protocol import encode, read_all
from autoinstrument.worker.event_round import send_events
from autoinstrument.worker.live_run import LiveRun
from autoinstrument.worker.scheduler import Scheduler
from autoinstrument.worker.service import Worker
from autoinstrument.worker.training_process import TrainingProcess
from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.harness import scalars, task_of
from tests.unit.mirror.runs import PROCESS
from tests.unit.transport.worker import wait_for

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
RUN = RunStarted("0" * 32, "the run", "0", "exp", "sqlite:////x", "", "", 0, "", {}, False, True, "")
T0 = 1_600_000_000_000


def run_id(number: int) -> str:
    return f"{number:032x}"


class Connected:
    """A training process that is connected to a worker, with one run."""

    def __init__(self, worker: Worker, number: int) -> None:
        self.run_id = run_id(number)
        self.socket, worker_end = socket.socketpair()
        worker.add(worker_end)
        self.send(PROCESS, RUN._replace(run_id=self.run_id))

    def send(self, *records: Any) -> None:
        self.socket.sendall(encode(list(records)))

    def log(self, step: int) -> None:
        self.send(MetricsLogged(self.run_id, [("loss", float(step), T0 + step, step)]))

    def wait_for_link(self) -> RunLinked:
        return next(record for record in read_all(self.socket) if isinstance(record, RunLinked))

    def end(self) -> None:
        self.send(RunEnded(self.run_id, "FINISHED", T0 + 100, "", False))


@pytest.fixture
def worker(server: ClearMLServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setenv("AUTOINSTRUMENT_HOME", str(tmp_path / "home"))
    (tmp_path / "worker").mkdir()
    working = Worker(tmp_path / "worker", Settings(home=str(tmp_path / "home")))
    thread = threading.Thread(target=working.run, daemon=True)
    thread.start()
    yield working
    for process in list(working._runs.processes):
        process.connection.close()


def test_points_of_all_runs_go_in_common_requests(server: ClearMLServer, worker: Worker) -> None:
    processes = [Connected(worker, number) for number in range(16)]
    for process in processes:
        process.wait_for_link()
    server.clear_requests()
    for process in processes:
        process.log(1)

    def have_all() -> bool:
        return all(scalars(server, task_of(server, process.run_id)["id"]) for process in processes)

    wait_for(have_all)
    tasks = [len({event["task"] for event in request.body}) for request in server.calls("events.add_batch")]
    assert max(tasks) > 4, "some may have come in between, while others were linked"
    assert len(tasks) < len(processes)


def test_runs_that_end_together_share_the_requests_of_their_last_points(
    server: ClearMLServer, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their last points go in common requests; each Task is made, started, told when its run ended, and ended."""
    monkeypatch.setattr("autoinstrument.worker.deliveries._SOON_S", 1.0)  # on a busy machine the ends are far apart
    processes = [Connected(worker, number) for number in range(16)]
    for process in processes:
        process.wait_for_link()
    for process in processes:
        process.log(1)
        process.log(2)  # a metric with one point is a single value, too, which is sent when the run has ended
        process.end()

    wait_for(lambda: all(task["status"] == "completed" for task in server.tasks))
    assert all(("loss", 1) in scalars(server, task_of(server, process.run_id)["id"]) for process in processes)
    counts = Counter(request.endpoint for request in server.requests)
    own = ("tasks.create", "tasks.started", "tasks.edit_hyper_params", "tasks.completed")
    assert {counts[endpoint] for endpoint in own} == {len(processes)}
    assert counts["events.add_batch"] < len(processes) / 2
    assert counts["projects.create"] == 1


def test_a_slow_run_does_not_delay_the_others(server: ClearMLServer, worker: Worker) -> None:
    """One edit hangs: another run gets its link and its points meanwhile, and the text of both is on disk."""
    slow, other = Connected(worker, 1), None
    slow.wait_for_link()
    hang = server.faults.add(Fault("tasks.edit_hyper_params", action="hang"))
    slow.send(ParamsLogged(slow.run_id, [("a", "1", "")]))
    wait_for(lambda: any(mirror.is_away for mirror in worker._runs.mirrors.values()))
    slow.send(ConsoleWritten("stdout", "while it hangs\n", T0))
    other = Connected(worker, 2)
    other.wait_for_link()
    other.log(1)
    wait_for(lambda: bool(scalars(server, task_of(server, other.run_id)["id"])))
    assert worker._runs.mirrors[slow.run_id].is_away
    journal = worker._runs.mirrors[slow.run_id].journal
    wait_for(lambda: [text for _, text, _ in journal.console()] == ["while it hangs"])
    server.faults.remove(hang)


@pytest.mark.swallows("accepting a process: RuntimeError: can't start new thread")
def test_a_process_for_which_there_is_no_thread_is_turned_away(worker: Worker) -> None:
    """It would wait for the worker, and the worker would stay for it, for ever."""
    training, worker_end = socket.socketpair()
    before = threading.stack_size(2**47)  # more than an address space holds
    try:
        with guard("accepting a process"):
            worker.add(worker_end)
    finally:
        threading.stack_size(before)
    assert [type(record) for record in read_all(training)] == [WorkerReady]
    assert not worker._runs.processes


def fail_for(run: str, patch: pytest.MonkeyPatch, owner: type, name: str) -> None:
    """Let a method or property of the run, of its process, or of one of its parts raise a `KeyError`."""
    real = getattr(owner, name)

    def call(self: Any, *arguments: Any) -> Any:
        mine = self.runs if isinstance(self, TrainingProcess) else {self.run.run_id}
        if run in mine:
            raise KeyError(run)
        return real.fget(self) if isinstance(real, property) else real(self, *arguments)

    patch.setattr(owner, name, property(call) if isinstance(real, property) else call)


@pytest.mark.swallows("(serving a process|choosing a run's next step|going on after a job|mirroring a run): KeyError")
@pytest.mark.parametrize(
    ("owner", "name"),
    [(LiveRun, "is_due"), (LiveRun, "want"), (LiveRun, "is_away"), (TrainingProcess, "described")],
)
def test_a_process_whose_run_fails_costs_the_others_nothing(
    server: ClearMLServer, worker: Worker, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    """Not even the worker, which they share; the process itself goes on with its run when it connects anew."""
    odd, other = Connected(worker, 1), Connected(worker, 2)
    odd.wait_for_link()
    other.wait_for_link()
    odd.log(1)
    wait_for(lambda: bool(scalars(server, task_of(server, odd.run_id)["id"])))
    with monkeypatch.context() as patch:
        fail_for(odd.run_id, patch, owner, name)
        odd.send(ProcessExiting("", False, 1.0))
        assert not any(isinstance(record, Delivered) for record in read_all(odd.socket)), "it is closed"
        other.log(1)
        other.end()
        wait_for(lambda: task_of(server, other.run_id)["status"] == "completed")
        wait_for(lambda: len(worker._runs.processes) == 1)
    assert worker._runs.open.keys() <= {other.run_id}
    again = Connected(worker, 1)
    assert again.wait_for_link().task_id == task_of(server, odd.run_id)["id"]
    again.end()
    wait_for(lambda: task_of(server, odd.run_id)["status"] == "completed")
    wait_for(lambda: not worker._given_up)


def mirrors_of(server: ClearMLServer, folder: Path, *keys: str) -> tuple[Tasks, list[LiveRun]]:
    """Return runs that have their Tasks, each with two points and a line of text that wait."""
    session, settings = Session(), Settings(home=str(folder))
    tasks, uploads = Tasks(session), Uploads(FileUploads(session))
    mirrors = []
    for number, key in enumerate(keys):
        mirror = LiveRun(
            RunJournals(settings).of(RUN._replace(run_id=run_id(number)), PROCESS), settings, tasks, uploads
        )
        mirror.make_task()
        mirror.take(MetricsLogged(mirror.run.run_id, [(key, 1.0, T0, 0), ("good", 1.0, T0, 0)]))
        mirror.console.write("stdout", f"of {number}\n", T0)
        mirrors.append(mirror)
    return tasks, mirrors


def test_after_an_outage_a_slow_run_does_not_delay_the_others(server: ClearMLServer, tmp_path: Path) -> None:
    """One run at a time tries the server; the others may go on as soon as it has answered that one at all."""
    tasks, (mirror,) = mirrors_of(server, tmp_path, "loss")
    scheduler = Scheduler(tasks, Uploads(FileUploads(Session())))
    worker_end, process_end = socket.socketpair()
    with worker_end, process_end:
        process = TrainingProcess(worker_end)
        outage = server.faults.add(Fault("*", status=503))
        scheduler.deliver(mirror, process, is_open=True)
        assert scheduler.is_probing
        server.faults.remove(outage)
        hang = server.faults.add(Fault("events.add_batch", action="hang"))
        scheduler._server._next = 0.0
        thread = threading.Thread(target=lambda: scheduler.deliver(mirror, process, is_open=True))
        thread.start()
        wait_for(lambda: not scheduler.is_probing)
        assert thread.is_alive(), "it is still sending"
        server.faults.remove(hang)
        thread.join()


@pytest.mark.parametrize("status", [400, 500])
def test_refused_points_of_one_run_do_not_cost_those_of_another(
    server: ClearMLServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """Nor is any line of its console there twice."""
    monkeypatch.setattr("autoinstrument.mirror.rejections._AGAIN_S", (0.01, 0.01))
    server.faults.add(Fault("events.add_batch", containing="poison", status=status))
    tasks, mirrors = mirrors_of(server, tmp_path, "loss", "poison")
    ended: dict[LiveRun, Exception | None] = {}
    send_events(tasks, mirrors, ended.__setitem__)
    assert list(ended.values()) == [None, None]
    ids = [mirror.task.id for mirror in mirrors if mirror.task is not None]
    assert [sorted(key for key, _ in scalars(server, task_id)) for task_id in ids] == [["good", "loss"], ["good"]]
    assert [server.console(task_id).splitlines() for task_id in ids] == [["of 0"], ["of 1"]]


def test_a_point_that_the_servers_index_refuses_doubles_no_text(server: ClearMLServer, tmp_path: Path) -> None:
    """The server stores the good events of such a batch, of all runs, and answers with an error."""
    tasks, mirrors = mirrors_of(server, tmp_path, "loss", "loss")
    ended: dict[LiveRun, Exception | None] = {}
    text = "General data error: err=1 document(s) failed to index., extra_info=mapper_parsing_exception"
    server.faults.add(Fault("events.add_batch", when="after", status=500, subcode=100, text=text, times=1))
    send_events(tasks, mirrors, ended.__setitem__)
    ids = [mirror.task.id for mirror in mirrors if mirror.task is not None]
    assert [server.console(task_id).splitlines() for task_id in ids] == [["of 0"], ["of 1"]]
    assert all({"loss", "good"} <= {key for key, _ in scalars(server, task_id)} for task_id in ids)


@pytest.mark.parametrize("number", [0, 1])
def test_a_deleted_task_beside_others_is_noticed(server: ClearMLServer, tmp_path: Path, number: int) -> None:
    """The server answers 200, because it has taken the other run's events."""
    tasks, mirrors = mirrors_of(server, tmp_path, "loss", "loss")
    deleted, other = mirrors[number], mirrors[1 - number]
    assert deleted.task is not None
    assert other.task is not None
    Session().call("tasks.delete", task=deleted.task.id, force=True)
    ended: dict[LiveRun, Exception | None] = {}
    send_events(tasks, mirrors, ended.__setitem__)
    assert ended[other] is None
    assert isinstance(ended[deleted], RefusedError)
    assert ended[deleted].is_gone
    assert sorted(key for key, _ in scalars(server, other.task.id)) == ["good", "loss"]
    assert deleted.events.have_events


def test_a_run_is_not_complete_while_changes_wait_for_it(server: ClearMLServer, tmp_path: Path) -> None:
    """The packages of its process arrive while its last data is being sent: the Task gets them, too."""
    session, settings = Session(), Settings(home=str(tmp_path))
    journal = RunJournals(settings).of(RUN, PROCESS)
    mirror = LiveRun(journal, settings, Tasks(session), Uploads(FileUploads(session)))
    mirror.end_as(End("completed", "", ""))
    mirror.lend()
    mirror.flush()

    def describe() -> None:
        journal.requirements = "mlflow==3\n"
        mirror.describe_again()

    mirror.do(describe)
    assert not mirror.is_complete
    assert mirror.come_home()
    assert mirror.is_due
    mirror.flush()
    assert mirror.is_complete
    assert server.tasks[0]["script"]["requirements"]["pip"] == "mlflow==3\n"


def test_the_loop_passes_over_complete_runs_until_something_comes_for_them(
    server: ClearMLServer, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study has thousands of runs in one process: each pass over all of them took as long as they were many."""
    process = Connected(worker, 1)
    process.wait_for_link()
    (mirror,) = worker._runs.mirrors.values()
    process.end()
    wait_for(lambda: mirror.is_closed)
    process.send(RunTagged(process.run_id))
    other = Connected(worker, 2)
    other.wait_for_link()
    wait_for(lambda: mirror.is_tagged)
    looked_at: list[LiveRun] = []
    step = worker._scheduler.step

    def observed(run: LiveRun, *arguments: Any, **named: Any) -> Any:
        looked_at.append(run)
        return step(run, *arguments, **named)

    monkeypatch.setattr(worker._scheduler, "step", observed)
    wait_for(lambda: len(looked_at) > 10 and mirror not in looked_at[-10:])
    assert mirror.weight == 0
    process.log(2)
    process.send(ConsoleWritten("stdout", "at last\n", T0), ProcessExiting("", False, 5.0))
    task_id = task_of(server, process.run_id)["id"]
    wait_for(lambda: ("loss", 2) in scalars(server, task_id))
    wait_for(lambda: server.console(task_id) == "at last\n")


def test_an_exit_waits_for_the_task_while_files_of_another_run_wait(server: ClearMLServer, worker: Worker) -> None:
    """Else the process ends without a line about its run, and a container with it."""
    worker._scheduler._files.failed(UnavailableError("the file storage does not answer"), 10.0)
    process = Connected(worker, 1)
    process.end()
    process.send(ProcessExiting("", False, 60.0))
    answers = []
    for answer in read_all(process.socket):
        answers.append(type(answer))
        if isinstance(answer, Delivered):
            break
    assert RunLinked in answers
    assert [task["status"] for task in server.tasks] == ["completed"]
