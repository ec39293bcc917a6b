"""`autoinstrument worker status` and `worker stop`, asked of a worker that serves this process on a socket."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from mlflow.tracking import MlflowClient

from autoinstrument.cli import main
from autoinstrument.cli.worker import _Found
from autoinstrument.mlflow_store.run_reader import open_run
from autoinstrument.process_identity import created_ms
from autoinstrument.records import MetricsLogged, ProcessStarted, Record, ReportRequested, WorkerReported
from autoinstrument.settings import read_settings
from autoinstrument.transport import peer, worker_query
from autoinstrument.transport.protocol import encode, read_all
from autoinstrument.worker.service import Worker
from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.conftest import database as database
from tests.end_to_end.harness import scalars, task_of
from tests.end_to_end.processes import wait_for
from tests.unit.mirror.runs import PROCESS
from tests.unit.sync.test_stored import a_run

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="on Windows the worker is a thread without a socket"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


command = sys.modules["autoinstrument.cli.worker"]  # of that name `autoinstrument.cli` has the command


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The one folder for workers' folders; its path is short enough for a socket's."""
    with tempfile.TemporaryDirectory(prefix="rt-", dir="/tmp") as folder:
        for name in ("XDG_RUNTIME_DIR", "TMPDIR", "TEMP", "TMP"):
            monkeypatch.setenv(name, folder)
        monkeypatch.setattr(worker_query, "runtime_folders", lambda: [folder])
        monkeypatch.setattr(command, "_folders_of_processes", lambda: iter(()))
        yield Path(folder)


class Service:
    """A worker on a socket, and a process that is connected to it."""

    def __init__(self, runtime: Path) -> None:
        self.folder = runtime / "autoinstrument-0-abc"
        self.folder.mkdir(mode=0o700)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.folder / "socket"))
        listener.listen()
        self.worker = Worker(self.folder, read_settings())
        threading.Thread(target=self.worker.listen, args=(listener,), daemon=True).start()
        self.loop = threading.Thread(target=self.worker.run, daemon=True)
        self.loop.start()
        self.training = socket.socket(socket.AF_UNIX)
        self.training.connect(str(self.folder / "socket"))

    def send(self, *records: Record) -> None:
        self.training.sendall(encode(list(records)))

    def end(self) -> None:
        self.training.close()
        self.loop.join(120)
        assert not self.loop.is_alive()


@pytest.fixture
def service(runtime: Path, server: ClearMLServer, client: MlflowClient) -> Iterator[Service]:
    found = Service(runtime)
    yield found
    found.end()


def autoinstrument(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def report() -> WorkerReported:
    done = autoinstrument("worker", "status", "--json")
    (found,) = json.loads(done.stdout)
    assert (done.exit_code, found["problem"]) == (0, "")
    return WorkerReported(**found["report"])


def test_no_worker_is_one_line(runtime: Path) -> None:
    """A folder that a killed worker has left does not count as a worker."""
    for number in range(2):
        for words in (["status"], ["stop"]):
            done = autoinstrument("worker", *words)
            assert (done.exit_code, done.stdout) == (0, "no worker of this user runs on this machine\n")
        assert json.loads(autoinstrument("worker", "status", "--json").stdout) == []
        (runtime / f"autoinstrument-{number}").mkdir()
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(runtime / f"autoinstrument-{number}" / "socket"))


def test_the_report_of_a_worker(service: Service, server: ClearMLServer, client: MlflowClient) -> None:
    run_id = a_run(client, name="the run")
    service.send(started(), open_run(client.tracking_uri, run_id).run._replace(owned=True, resumed=False))
    wait_for(lambda: any(run["task_url"] and not run["waits"] for run in report().runs))
    found = report()
    assert (found.pid, found.started_ms) == (os.getpid(), created_ms(os.getpid()))
    assert found.memory_bytes > 1_000_000
    assert found.cpu_s > 0
    (process,), (run,) = found.processes, found.runs
    assert process == {"pid": os.getpid(), "script": PROCESS.main_path, "runs": [run_id], "is_gone": False}
    assert run["run_name"] == "the run"
    assert run["task_url"].endswith(f"{task_of(server, run_id)['id']}/output/log")
    assert (run["has_ended"], run["waiting_bytes"]) == (False, 0)
    wait_for(lambda: "waiting: 0 of 1 runs, 0 bytes" in autoinstrument("worker", "status").stdout)  # all was captured
    shown = autoinstrument("worker", "status")
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines[0].startswith(f"worker {os.getpid()} (autoinstrument {found.version}), since 20")
    assert lines[1] == "  ClearML: no failure"
    assert lines[3] == f"  process {os.getpid()} {PROCESS.main_path}"
    assert lines[4].startswith("  run the run in ")
    assert ": is open, is up to date, http" in lines[4]


def test_a_failing_server_and_the_waiting_data(service: Service, server: ClearMLServer, client: MlflowClient) -> None:
    run_id = a_run(client, name="the run")
    server.faults.add(Fault(endpoints="*", action="status", status=503))
    run = open_run(client.tracking_uri, run_id).run._replace(owned=True, resumed=False)
    service.send(started(), run, MetricsLogged(run_id, [("loss", 0.5, 0, 1)]))
    wait_for(lambda: report().problem)
    found = report()
    assert found.failing_since_ms >= created_ms(os.getpid())
    (waiting,) = found.runs
    assert waiting["waits"]
    assert waiting["waiting_bytes"] > 0
    shown = autoinstrument("worker", "status")
    assert "  ClearML: failing since 20" in shown.stdout
    assert "  waiting: 1 of 1 runs, " in shown.stdout
    assert "no Task yet" in shown.stdout
    assert report().failing_since_ms == found.failing_since_ms


def test_a_worker_that_is_stopped_delivers_first(service: Service, server: ClearMLServer, client: MlflowClient) -> None:
    """The process gets no message; it finds its connection closed, and its run open."""
    run_id = a_run(client, name="the run")
    points = [("loss", float(step), 1_600_000_000_000, step) for step in range(1000)]
    with Elsewhere() as pid:
        described = open_run(client.tracking_uri, run_id).run._replace(owned=True, resumed=False)
        service.send(started(pid), described, MetricsLogged(run_id, points))
        unknown = autoinstrument("worker", "stop", "1")
        assert (unknown.exit_code, unknown.stderr.splitlines()[-1]) == (
            2, "Error: no worker of this user has the process id 1",
        )  # fmt: skip
        done = autoinstrument("worker", "stop", str(os.getpid()))
        assert (done.exit_code, done.output) == (
            0, f"worker {os.getpid()} has ended; everything is delivered\n",
        )  # fmt: skip
        service.loop.join(60)
        assert not service.loop.is_alive()
    task = task_of(server, run_id)
    assert len(scalars(server, task["id"])) == 1000
    assert task["status"] == "in_progress"
    assert {type(record).__name__ for record in read_all(service.training)} == {
        "RunLinked",
        "WorkerReady",
        "WorkerStopped",
    }
    with pytest.raises(BrokenPipeError):
        service.send(started())
    with socket.socket(socket.AF_UNIX) as late, pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        late.connect(str(service.folder / "socket"))


def test_the_runs_that_a_stopped_worker_leaves_are_counted(
    service: Service, server: ClearMLServer, client: MlflowClient
) -> None:
    run_id = a_run(client, name="the run")
    server.faults.add(Fault(endpoints="*", action="status", status=401))
    with Elsewhere() as pid:
        service.send(started(pid), open_run(client.tracking_uri, run_id).run._replace(owned=True, resumed=False))
        wait_for(lambda: report().problem)
        done = autoinstrument("worker", "stop")
    assert done.exit_code == 1
    assert done.output == f"worker {os.getpid()} has ended; 1 run waits for `autoinstrument sync`\n"


def test_a_worker_without_processes_ends_at_once(service: Service) -> None:
    """A question neither keeps the worker alive nor counts as a process."""
    assert [process["pid"] for process in report().processes] == [0]
    service.end()


def test_a_worker_that_does_not_answer_or_is_another_users(
    runtime: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are shown nevertheless; workers of another user are not asked."""
    monkeypatch.setattr(command, "_ANSWER_S", 0.5)
    folder = runtime / "autoinstrument-0-stopped"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind(str(folder / "socket"))
        stopped.listen()
        done = autoinstrument("worker", "status")
        assert done.exit_code == 1
        assert f"worker {os.getpid()} " in done.stdout
        assert f"the worker in {folder}: it does not answer (" in done.stderr
        monkeypatch.setattr(command, "_workers", lambda: iter([_Found(folder, None, "it does not answer")]))
        done = autoinstrument("worker", "stop", "--timeout", "1")
        assert (done.exit_code, done.stderr) == (1, f"the worker in {folder} was not stopped: it does not answer\n")
        monkeypatch.setattr(os, "geteuid", lambda: 54321)
        with pytest.raises(peer.WrongUserError):
            worker_query.ask(folder, ReportRequested(), WorkerReported, 1)
    assert service.worker._runs.processes != []


@pytest.mark.swallows("accepting a process: WrongUserError")
def test_another_user_is_not_served(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is closed, and those of the worker's own user are accepted afterwards."""
    assert len(report().processes) == 1
    user = os.geteuid()
    with monkeypatch.context() as patch, socket.socket(socket.AF_UNIX) as other:
        patch.setattr(os, "geteuid", lambda: user + 1)
        other.connect(str(service.folder / "socket"))
        assert other.recv(1) == b""
    assert len(report().processes) == 1


class Elsewhere:
    """Another process, which runs until the block ends."""

    def __enter__(self) -> int:
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
        )
        return self._process.pid

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def started(pid: int = 0) -> ProcessStarted:
    pid = pid or os.getpid()
    return PROCESS._replace(pid=pid, started_ms=created_ms(pid))
