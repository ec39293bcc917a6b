"""The console of a run is on disk from the moment that it is known until the run's Task has it."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoinstrument.mirror.captures import Capture, Captures
from autoinstrument.mirror.delivery import Delivery
from autoinstrument.mirror.ending import End
from autoinstrument.mirror.process import Process
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.records import RunStarted
from autoinstrument.settings import Settings
from autoinstrument.to_clearml.files import Files
from autoinstrument.to_clearml.session import Session
from autoinstrument.to_clearml.tasks import Tasks
from tests.clearml_server import ClearMLServer
from tests.mirror.runs import PROCESS
from tests.mirror.test_sync_store import server as server

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

RUN = RunStarted("c" * 32, "a", "0", "exp", "sqlite:///nowhere.db", "", "", 0, "", {}, False, True, "")


@pytest.fixture
def process() -> Iterator[Process]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Process(ours)


def lines_of(capture: Capture) -> list[str]:
    """Return what is kept and the Task lacks."""
    kept = Capture.load(capture.folder)
    return [line for _, line, _ in kept.console(kept.console_sent)]


def test_the_console_of_a_run_that_is_resumed(
    server: ClearMLServer, tmp_path: Path, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    """The capture was removed when the Task was complete; the process resumes the run and goes on."""
    capture = Captures(Settings(home=str(tmp_path / "home"))).of(RUN, PROCESS)
    session = Session()
    uploads = Uploads(Files(session))
    mirror, delivery = RunMirror(capture, Settings(), Tasks(session), uploads), Delivery(uploads)
    for number in range(2):
        mirror.console.write("stdout", f"part {number}\n", number)
        assert lines_of(capture) == [f"part {number}"]
        mirror.end_as(End("completed", "", ""))
        delivery.deliver(mirror, process, is_open=False)
        assert not capture.folder.exists()
        mirror.reopen(RUN._replace(resumed=True))
        assert Capture.load(capture.folder).end == {}
    (task,) = server.tasks
    assert server.console(task["id"]).splitlines() == ["part 0", "part 1"]
    assert not caplog.records


def test_a_capture_that_somebody_takes_away_is_begun_anew(
    server: ClearMLServer, tmp_path: Path, process: Process
) -> None:
    capture = Captures(Settings(home=str(tmp_path / "home"))).of(RUN._replace(run_id="d" * 32), PROCESS)
    session = Session()
    uploads = Uploads(Files(session))
    mirror, delivery = RunMirror(capture, Settings(), Tasks(session), uploads), Delivery(uploads)
    mirror.console.write("stdout", "one\ntwo\n", 1)
    delivery.deliver(mirror, process, is_open=True)
    mirror.console.write("stdout", "three\n", 2)
    shutil.rmtree(tmp_path / "home")
    mirror.console.write("stdout", "four\n", 3)
    assert lines_of(capture) == ["four"]
    delivery.deliver(mirror, process, is_open=True)
    assert mirror.task is not None
    assert server.console(mirror.task.id).splitlines() == ["one", "two", "three", "four"]
