"""The worker's reports about runs, and the moments when it writes to MLflow itself."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.records import RunLinked, RunPending, RunStarted
from autoinstrument.settings import Settings
from autoinstrument.transport.protocol import read_all
from autoinstrument.worker.dispatcher import Dispatcher
from autoinstrument.worker.live_run import LiveRun
from autoinstrument.worker.scheduler import Scheduler
from autoinstrument.worker.training_process import TrainingProcess
from tests.clearml_server import ClearMLServer, Fault
from tests.unit.mirror.runs import PROCESS

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
RUN = RunStarted("1" * 32, "the run", "0", "exp", "sqlite:////x", "", "", 0, "", {}, False, True, "")


class Worked:
    """A worker's scheduler, and a run whose Task is complete."""

    def __init__(self, folder: Path, connection: socket.socket) -> None:
        session = Session()
        tasks, uploads = Tasks(session), Uploads(FileUploads(session))
        (folder / "captures").mkdir(mode=0o700)
        self.mirror = LiveRun(RunJournal(folder / "captures" / RUN.run_id, RUN, PROCESS), Settings(), tasks, uploads)
        self.home = TrainingProcess(connection)
        self.scheduler = Scheduler(tasks, uploads)
        self.mirror.end_as(End("completed", "", ""))
        self.deliver()

    def deliver(self) -> None:
        self.scheduler.deliver(self.mirror, self.home, is_open=False)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    process_end, worker_end = socket.socketpair()
    with process_end, worker_end:
        yield process_end, worker_end


@pytest.fixture
def worked(server: ClearMLServer, tmp_path: Path, ends: tuple[socket.socket, socket.socket]) -> Worked:
    return Worked(tmp_path, ends[1])


@pytest.mark.parametrize("is_tagged", [False, True], ids=["tag on its way", "tag written"])
def test_a_complete_run_is_pending_again_while_a_late_line_cannot_be_sent(
    server: ClearMLServer, worked: Worked, ends: tuple[socket.socket, socket.socket], is_tagged: bool
) -> None:
    """The process writes `synced`, then `pending`: its report of the first must not take the journal away."""
    mirror = worked.mirror
    assert mirror.is_closed
    if is_tagged:
        Dispatcher._note_tagged(mirror)
        assert not mirror.journal.is_there
    refusal = server.faults.add(Fault("events.add_batch", status=401))
    mirror.console.write("stdout", "after the end\n", 1)
    worked.deliver()
    if not is_tagged:
        Dispatcher._note_tagged(mirror)
    kept = RunJournal.load(mirror.journal.folder)
    assert (kept.delivered, kept.end["status"]) == (False, "completed")
    assert [text for _, text, _ in kept.console(kept.console_sent)] == ["after the end"]
    server.faults.remove(refusal)
    worked.scheduler.process_began()
    worked.deliver()
    assert mirror.task is not None
    assert server.console(mirror.task.id).splitlines() == ["after the end"]
    Dispatcher._note_tagged(mirror)
    assert not mirror.journal.is_there
    worked.home.connection.shutdown(socket.SHUT_WR)
    notices = [record for record in read_all(ends[0]) if isinstance(record, (RunLinked, RunPending))]
    assert [getattr(record, "delivered", "pending") for record in notices] == [True, "pending", True]


def test_the_worker_writes_a_link_only_when_the_process_is_gone(worked: Worked) -> None:
    """A process that got the answer may still be writing that the run is pending."""
    worked.home.waits.answer_exit()
    assert not worked.scheduler.is_left(worked.mirror, worked.home)
    worked.home.leave()
    assert worked.scheduler.is_left(worked.mirror, worked.home)


def test_a_task_that_has_ended_stays_so_if_an_older_answer_says_that_it_was_stopped(
    server: ClearMLServer, worked: Worked
) -> None:
    """The worker asks ClearML and MLflow whether a run goes on, and the run may end before it has the answers."""
    assert worked.mirror.task is not None
    worked.mirror.go_on()
    worked.mirror.console.write("stdout", "a late line\n", 1)
    worked.deliver()
    assert [task["status"] for task in server.tasks] == ["completed"]
