"""The console of a run is on disk from the moment that it is known until the run's Task has it."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.journal.console_file import ConsoleLine
from autoinstrument.journal.run_journal import RunJournal, RunJournals
from autoinstrument.mirror.kinds.console import ConsolePart
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.records import ConsoleWritten, ProcessExiting, Record, RunEnded, RunStarted
from autoinstrument.settings import Settings
from autoinstrument.transport.budget import Limit
from autoinstrument.worker import early_records
from autoinstrument.worker.deliveries import Deliveries
from autoinstrument.worker.dispatcher import Dispatcher
from autoinstrument.worker.live_run import LiveRun
from autoinstrument.worker.mlflow_access import MLflowAccess
from autoinstrument.worker.receiver import ConnectionClosed
from autoinstrument.worker.scheduler import Scheduler
from autoinstrument.worker.training_process import TrainingProcess
from tests.clearml_server import ClearMLServer
from tests.unit.mirror.runs import PROCESS
from tests.unit.sync.test_stored import server as server

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

RUN = RunStarted("c" * 32, "a", "0", "exp", "sqlite:///nowhere.db", "", "", 0, "", {}, False, True, "")


@pytest.fixture
def process() -> Iterator[TrainingProcess]:
    worker_end, process_end = socket.socketpair()
    with worker_end, process_end:
        yield TrainingProcess(worker_end)


def lines_of(journal: RunJournal) -> list[str]:
    """Return the kept lines that the Task lacks."""
    kept = RunJournal.load(journal.folder)
    return [line for _, line, _ in kept.console(kept.console_sent)]


def test_the_console_of_a_run_that_is_resumed(
    server: ClearMLServer, tmp_path: Path, process: TrainingProcess, caplog: pytest.LogCaptureFixture
) -> None:
    """The journal was removed when the Task was complete; the process resumes the run and goes on."""
    journal = RunJournals(Settings(home=str(tmp_path / "home"))).of(RUN, PROCESS)
    session = Session()
    uploads = Uploads(FileUploads(session))
    mirror, delivery = LiveRun(journal, Settings(), Tasks(session), uploads), Scheduler(Tasks(session), uploads)
    for number in range(2):
        mirror.console.write("stdout", f"part {number}\n", number)
        assert lines_of(journal) == [f"part {number}"]
        mirror.end_as(End("completed", "", ""))
        delivery.deliver(mirror, process, is_open=False)
        mirror.note_tagged()  # as the process says
        mirror.reopen(RUN._replace(resumed=True))
        assert RunJournal.load(journal.folder).end == {}
    (task,) = server.tasks
    assert server.console(task["id"]).splitlines() == ["part 0", "part 1"]
    assert not caplog.records


def test_a_journal_that_was_removed_is_begun_again(
    server: ClearMLServer, tmp_path: Path, process: TrainingProcess
) -> None:
    journal = RunJournals(Settings(home=str(tmp_path / "home"))).of(RUN._replace(run_id="d" * 32), PROCESS)
    session = Session()
    uploads = Uploads(FileUploads(session))
    mirror, delivery = LiveRun(journal, Settings(), Tasks(session), uploads), Scheduler(Tasks(session), uploads)
    mirror.console.write("stdout", "one\ntwo\n", 1)
    delivery.deliver(mirror, process, is_open=True)
    mirror.console.write("stdout", "three\n", 2)
    shutil.rmtree(tmp_path / "home")
    mirror.console.write("stdout", "four\n", 3)
    assert lines_of(journal) == ["four"]
    delivery.deliver(mirror, process, is_open=True)
    assert mirror.task is not None
    assert server.console(mirror.task.id).splitlines() == ["one", "two", "three", "four"]


def test_the_next_worker_sends_only_the_lines_that_the_task_lacks(
    server: ClearMLServer, tmp_path: Path, process: TrainingProcess
) -> None:
    """A worker that is killed writes nothing any more."""
    journals, session = RunJournals(Settings(home=str(tmp_path / "home"))), Session()
    run, uploads = RUN._replace(run_id="e" * 32), Uploads(FileUploads(session))
    delivery = Scheduler(Tasks(session), uploads)
    for number in range(3):
        mirror = LiveRun(journals.of(run, PROCESS), Settings(), Tasks(session), uploads)
        mirror.console.write("stdout", f"sent {number}\n", 10 * number)
        delivery.deliver(mirror, process, is_open=True)
        mirror.console.write("stdout", f"kept {number}\n", 10 * number + 5)
        run = run._replace(resumed=True)
    assert mirror.task is not None
    assert server.console(mirror.task.id).splitlines() == ["sent 0", "kept 0", "sent 1", "kept 1", "sent 2"]


def new_dispatcher(folder: Path, settings: Settings, session: Session) -> Dispatcher:
    uploads, tasks = Uploads(FileUploads(session)), Tasks(session)
    scheduler = Scheduler(tasks, uploads)
    aside = Deliveries(scheduler, lambda: None).aside
    return Dispatcher(folder, settings, tasks, uploads, scheduler, MLflowAccess(), aside)


def records(*script: str) -> list[Record]:
    """Return a process's records: "+a" begins run a, or resumes it, "-a" ends it, anything else is written."""
    found: list[Record] = []
    begun = set()
    for word in script:
        run_id = word[1:] * 32
        if word.startswith("+"):
            found.append(RUN._replace(run_id=run_id, resumed=run_id in begun))
            begun.add(run_id)
        elif word.startswith("-"):
            found.append(RunEnded(run_id, "FINISHED", 0, "", False))
        else:
            found.append(ConsoleWritten("stdout", f"{word}\n", 0))
    return found


@pytest.mark.parametrize(
    ("script", "consoles"),
    [
        (["+a", "in a", "-a", "to b", "+b", "in b", "-b", "end"], {"a": ["in a"], "b": ["to b", "in b", "end"]}),
        (["first", "+a", "-a", "last"], {"a": ["first", "last"]}),
        (["+a", "in a", "-a", "again", "+a", "in a"], {"a": ["in a", "again", "in a"]}),
        (["+a", "+b", "both", "-b", "still a", "-a", "end"], {"a": ["both", "still a", "end"], "b": ["both"]}),
    ],
)
@pytest.mark.parametrize("end", [ProcessExiting("", False, 1.0), ConnectionClosed()], ids=["exiting", "killed"])
def test_text_between_two_runs_announces_the_second(
    tmp_path: Path,
    process: TrainingProcess,
    script: list[str],
    consoles: dict[str, list[str]],
    end: Record | ConnectionClosed,
) -> None:
    settings, session = Settings(home=str(tmp_path / "home")), Session()
    runs = new_dispatcher(tmp_path, settings, session)
    runs.registry.processes.append(process)
    runs.handle(process, PROCESS)
    for record in [*records(*script), end]:
        runs.handle(process, record)
    runs.process_end.complete(process)
    for name, lines in consoles.items():
        assert lines_of(runs.registry.mirrors[name * 32].journal) == lines


def test_more_text_between_two_runs_than_memory_holds(
    tmp_path: Path, process: TrainingProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the first run's then, and nothing is lost."""
    monkeypatch.setattr(early_records, "UNKNOWN_RUNS", Limit(10_000, 20))
    settings, session = Settings(home=str(tmp_path / "home")), Session()
    runs = new_dispatcher(tmp_path, settings, session)
    numbers = [str(number) for number in range(20)]
    for record in [PROCESS, *records("+a", "-a", *numbers, "+b")]:
        runs.handle(process, record)
    first, second = (lines_of(runs.registry.mirrors[name * 32].journal) for name in "ab")
    assert first
    assert first + second == numbers


def test_a_slow_disk_delays_no_one_who_writes(
    tmp_path: Path, server: ClearMLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of an earlier worker are read while the worker's loop takes the text of all its runs."""
    journals, run = RunJournals(Settings(home=str(tmp_path / "home"))), RUN._replace(run_id="f" * 32)
    ConsolePart(journals.of(run, PROCESS)).write("stdout", "one\ntwo\n", 1)
    journal = journals.of(run._replace(resumed=True), PROCESS)
    console, task = ConsolePart(journal), Tasks(Session()).create("exp", {"name": "task", "type": "training"})
    is_reading, goes_on, waited = threading.Event(), threading.Event(), list[bool]()
    read = RunJournal.console

    def slow(of: RunJournal, start: int = 0) -> Iterator[ConsoleLine]:
        for number, line in enumerate(read(of, start)):
            if number == 1:
                is_reading.set()
                waited.append(goes_on.wait(30))
            yield line

    with monkeypatch.context() as patch, ThreadPoolExecutor(1) as sender:
        patch.setattr(RunJournal, "console", slow)
        sending = sender.submit(console.next_events, task, 10)
        assert is_reading.wait(60)
        console.write("stdout", "three\n", 2)
        console.tick()
        goes_on.set()
        sent = sending.result()
    assert waited == [True], "the text waited for the disk"
    assert lines_of(journal) == ["one", "two", "three"]
    console.events_sent()
    sent += console.next_events(task, 10)
    console.events_sent()
    assert "".join(event["msg"] for event in sent) == "one\ntwo\nthree\n"
    assert not console.has_events


def test_lines_that_the_disk_refuses_come_after_those_that_it_has(tmp_path: Path, server: ClearMLServer) -> None:
    """Of an earlier worker, which have not been read yet."""
    journals, run = RunJournals(Settings(home=str(tmp_path / "home"))), RUN._replace(run_id="9" * 32)
    ConsolePart(journals.of(run, PROCESS)).write("stdout", "one\n", 1)
    journal = journals.of(run._replace(resumed=True), PROCESS)
    console, task = ConsolePart(journal), Tasks(Session()).create("exp", {"name": "task", "type": "training"})
    console.free_memory()  # from here on, as of a disk that takes nothing
    console.write("stdout", "two\n", 2)
    console.write("stdout", "three\n", 3)
    (event,) = console.next_events(task, 10)
    assert event["msg"] == "one\ntwo\nthree\n"


def test_a_console_that_must_be_sent_again_while_it_is_read(
    tmp_path: Path, server: ClearMLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines that are being read belong to a journal that is no longer there."""
    journals, run = RunJournals(Settings(home=str(tmp_path / "home"))), RUN._replace(run_id="8" * 32)
    ConsolePart(journals.of(run, PROCESS)).write("stdout", "one\ntwo\n", 1)
    journal = journals.of(run._replace(resumed=True), PROCESS)
    console, task = ConsolePart(journal), Tasks(Session()).create("exp", {"name": "task", "type": "training"})
    read = RunJournal.console

    def overtaken(of: RunJournal, start: int = 0) -> Iterator[ConsoleLine]:
        yield from read(of, start)
        shutil.rmtree(tmp_path / "home")
        console.write("stdout", "three\n", 2)

    with monkeypatch.context() as patch:
        patch.setattr(RunJournal, "console", overtaken)
        (event,) = console.next_events(task, 10)
    assert event["msg"] == "three\n"
    console.events_sent()
    assert lines_of(journal) == []
