"""The traceback of a run that failed is in its Task's console once: as it was printed, else added at the end."""

from __future__ import annotations

import logging
import socket
import sys
import traceback
from pathlib import Path

import pytest

from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Task, Tasks
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror.kinds.console import ConsolePart
from autoinstrument.mirror.kinds.printed_exceptions import PrintedExceptions
from autoinstrument.mirror.mapping.run_status import of_error
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.records import RunStarted
from autoinstrument.settings import Settings
from autoinstrument.worker.live_run import LiveRun
from autoinstrument.worker.scheduler import Scheduler
from autoinstrument.worker.training_process import TrainingProcess
from tests.clearml_server import ClearMLServer
from tests.unit.mirror.runs import PROCESS

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
TASK = Task("1" * 32, "", False, {}, {}, "in_progress", "")

RUN = RunStarted("1" * 32, "a", "0", "exp", "sqlite:////x", "", "", 0, "", {}, False, True, "")


@pytest.fixture
def journal(tmp_path: Path) -> RunJournal:
    (tmp_path / "captures").mkdir(mode=0o700)
    journal = RunJournal(tmp_path / "captures" / RUN.run_id, RUN, PROCESS)
    journal.save()
    return journal


def train() -> None:
    raise ValueError("no such layer\nsecond line")


def failed() -> str:
    """The traceback as it is known when the run ends: without the frames outside of `with start_run()`."""
    try:
        train()
    except ValueError as error:
        return "".join(traceback.format_exception(error))
    return ""


def printed() -> str:
    """The traceback as Python prints it in the end, with all frames."""
    return failed().replace("\n", '\n  File "train.py", line 1, in <module>\n', 1)


def chained() -> str:
    try:
        try:
            train()
        except ValueError as error:
            raise RuntimeError("no training") from error
    except RuntimeError as error:
        return "".join(traceback.format_exception(error))


def logged() -> str:
    try:
        train()
    except ValueError:
        record = logging.LogRecord("a", logging.ERROR, "", 1, "failed", None, sys.exc_info())
        return logging.Formatter("%(levelname)s %(message)s").format(record) + "\n"
    return ""


COLORED = failed().replace("ValueError: no", "\x1b[1;35mValueError\x1b[0m: \x1b[35mno")


def shown(console: ConsolePart) -> str:
    return "".join(str(event["msg"]) for event in console.next_events(TASK, 100))


@pytest.mark.parametrize("text", [printed(), logged(), COLORED], ids=["printed", "logged", "colored"])
def test_a_traceback_that_was_printed_is_not_added(journal: RunJournal, text: str) -> None:
    console = ConsolePart(journal)
    console.write("stdout", "begun\n", 1)
    console.show_traceback(failed())
    console.write("stderr", text, 2)  # a moment after the run's end
    console.finish()
    assert shown(console) == f"begun\n{text}"


def test_the_exceptions_that_were_printed() -> None:
    printed = PrintedExceptions()
    for line in failed().splitlines():
        printed.take(line)
    assert failed() in printed
    assert failed().replace("layer", "loss") not in printed


@pytest.mark.parametrize(("text", "is_added"), [(failed(), True), (chained(), False)])
def test_a_chain_is_known_by_its_last_exception(journal: RunJournal, text: str, is_added: bool) -> None:
    console = ConsolePart(journal)
    console.write("stderr", text, 1)
    console.show_traceback(chained())
    console.finish()
    assert shown(console) == text + (chained() if is_added else "")


@pytest.mark.parametrize("text", ["", "ValueError: no such layer\n", "Traceback (most recent call last): see below\n"])
def test_a_traceback_that_was_not_printed_is_added(
    journal: RunJournal, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = ConsolePart(journal)
    console.write("stdout", text, 1)
    console.show_traceback(failed())
    console.tick()
    assert (console.awaits_traceback, shown(console)) == (True, text), "it may yet be printed"
    monkeypatch.setattr("autoinstrument.mirror.kinds.console._PRINTED_S", 0.0)
    console.show_traceback(failed())
    console.tick()
    console.tick()
    assert shown(console) == text + failed()
    assert "".join(f"{line}\n" for _, line, _ in journal.console()) == text + failed()
    console.events_sent()
    assert (console.has_work, console.awaits_traceback) == (False, False)


@pytest.mark.parametrize("text", ["", printed()], ids=["not printed", "printed"])
def test_the_run_is_complete_when_it_is_known(journal: RunJournal, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Task fails at once; the traceback is waited for, printed or not, and the run's journal goes then."""
    worker_end, process_end = socket.socketpair()
    with ClearMLServer() as server, worker_end, process_end:
        for name, value in server.environ.items():
            monkeypatch.setenv(name, value)
        session = Session()
        uploads = Uploads(FileUploads(session))
        delivery, process = Scheduler(Tasks(session), uploads), TrainingProcess(worker_end)
        mirror = LiveRun(journal, Settings(), Tasks(session), uploads)
        mirror.end_as(of_error(failed()))
        mirror.console.write("stderr", text, 1)
        delivery.deliver(mirror, process, is_open=False)
        assert server.tasks[0]["status"] == "failed"
        assert not mirror.is_closed
        assert not mirror.is_due
        monkeypatch.setattr("autoinstrument.mirror.kinds.console._PRINTED_S", 0.0)
        mirror.console.show_traceback(failed())
        mirror.console.tick()
        delivery.deliver(mirror, process, is_open=False)
        assert mirror.is_closed
        assert RunJournal.load(journal.folder).delivered
        assert server.console(server.tasks[0]["id"]) == (text or failed())


def test_another_worker_does_not_add_it_again(journal: RunJournal) -> None:
    """Such a worker goes on from the journal: `sync`, or the worker's successor."""
    first = ConsolePart(journal)
    first.show_traceback(failed())
    first.finish()
    second = ConsolePart(RunJournal.load(journal.folder))
    second.show_traceback(failed())
    second.finish()
    assert shown(second) == failed()


def test_an_end_that_was_kept_is_read_again(journal: RunJournal) -> None:
    journal.end = {"status": "failed", "reason": "a", "message": "a", "traceback": failed()}
    journal.save()
    assert RunJournal.load(journal.folder).end == journal.end
    journal.end = {"status": "failed", "reason": "a", "message": failed()}
    journal.save()
    assert RunJournal.load(journal.folder).end == journal.end
    journal.end["other"] = ""
    journal.save()
    with pytest.raises(ValueError, match="damaged"):
        RunJournal.load(journal.folder)


def test_a_console_is_not_sent_if_clearml_is_configured_to_keep_none(journal: RunJournal) -> None:
    console = ConsolePart(journal, lambda: False)
    console.write("stdout", "begun\n", 1)
    assert console.has_events
    assert shown(console) == ""
    console.events_sent()
    assert not console.has_events, "and does not wait"
