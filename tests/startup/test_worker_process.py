"""The worker that a run starts is a separate Python process; neither the agent nor the job's signals reach it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from autoinstrument.transport import worker_process
from tests.end_to_end.processes import wait_for
from tests.startup.environment import ROOT, find_interpreter

ON = {"AUTOINSTRUMENT_ENABLED": "1"}

# Runs at the start of every interpreter of the environment, after the agent's start-up file ("p" comes after "a").
PROBE = """
import json, os, sys
with open(os.path.join(os.environ["RECORD"], str(os.getpid())), "w") as file:
    armed = any(type(finder).__name__ == "AfterImport" for finder in sys.meta_path)
    json.dump({"armed": armed, "switch": os.environ.get("AUTOINSTRUMENT_ENABLED")}, file)
"""

TRAIN = """
import os, mlflow
with mlflow.start_run():
    mlflow.log_metric("loss", 1.0)
print(os.getpid())
"""


def test_the_worker_is_not_instrumented_and_does_not_inherit_the_switch(own_environment, tmp_path):
    records = tmp_path / "records"
    records.mkdir()
    probe = own_environment.site_packages / "probe.py"
    start = own_environment.site_packages / "probe.pth"
    probe.write_text(PROBE)
    start.write_text("import os; os.environ.get('RECORD') and __import__('probe')\n")
    try:
        env = {
            **ON, "RECORD": str(records), "AUTOINSTRUMENT_HOME": str(tmp_path / "home"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}",
        }  # fmt: skip
        training = own_environment.run("-c", TRAIN, env=env, cwd=tmp_path).stdout.strip()
        found = {path.name: json.loads(path.read_text()) for path in records.iterdir()}
    finally:
        probe.unlink()
        start.unlink()
    assert found.pop(training) == {"armed": True, "switch": "1"}
    assert list(found.values()) == [{"armed": False, "switch": None}], "one other interpreter: the worker"
    (worker,) = found
    wait_for(lambda: not _is_running(worker))


def test_a_signal_in_the_first_moment_does_not_end_the_worker(tmp_path, monkeypatch):
    """A job's signal may come before the new process has run its first line. The caller's own mask stays as it was.

    `ps` and `top` show whose process it is.
    """
    monkeypatch.setenv("AUTOINSTRUMENT_HOME", str(tmp_path))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    worker = worker_process.start("process")
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        os.kill(worker._process.pid, number)
    worker.settle()
    with worker.connect():
        wait_for(lambda: [process.name() for process in processes_of(worker.folder.path)] == ["autoinstrument"])
        (process,) = processes_of(worker.folder.path)
        name, *options, program = process.cmdline()[:4]
        assert Path(name) == Path(sys.executable).with_name("autoinstrument worker")
        assert options == ["-I", "-S"]
        assert program == str(Path(worker_process.__file__).parents[1] / "worker/program.py")
        wait_for(lambda: process.nice() == min(psutil.Process().nice() + 5, 19))  # set after its name
    wait_for(lambda: not worker.folder.path.exists())


def test_signals_at_any_moment_of_its_start_leave_the_worker_alone(tmp_path, monkeypatch):
    """Every millisecond one to all of its processes, from before the first fork until it serves."""
    monkeypatch.setenv("AUTOINSTRUMENT_HOME", str(tmp_path))
    worker = worker_process.start("process")
    first = worker._process.pid
    numbers = [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT]
    sent = 0
    with worker.connect():
        while not (serving := [each for each in processes_of(worker.folder.path) if is_serving(each)]):
            # By number: only root may signal a process of another user, and no other process has such a command line.
            for pid in {first, *(process.pid for process in processes_of(worker.folder.path))}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, numbers[sent % len(numbers)])
            sent += 1
            assert sent < 20_000
        worker.settle()
        (process,) = serving
        for number in numbers:
            process.send_signal(number)
        assert process.is_running()
    assert sent > 3
    wait_for(lambda: not worker.folder.path.exists())


def is_serving(process):
    """Return True if a worker has left its start behind: it has an own priority, and unblocked its signals."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{process.pid}/status").read_text()
        return "SigBlk:\t0000000000000000" in status and process.num_threads() > 1
    return False


@pytest.mark.parametrize("copies", [False, True], ids=["links", "copies"])
@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13", "3.14"])
def test_python_finds_its_environment_under_the_workers_name(version, copies, tmp_path):
    """With the first word of the command line that `ps` shows, prefix and path are those of the interpreter."""
    if not (base := find_interpreter(version)):
        pytest.skip(f"no Python {version} on this machine that runs")
    subprocess.run([base, "-m", "venv", "--without-pip", *["--copies"] * copies, tmp_path / "venv"], check=True)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "python"
    link.symlink_to(base)
    look = "import json, site, sys; site.main(); print(json.dumps([sys.prefix, sys.base_prefix, sys.path]))"
    name = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from autoinstrument.transport import own_python
print(own_python.shown_as(own_python.interpreter(), "autoinstrument worker"))
"""
    for python in (tmp_path / "venv" / "bin" / "python", link, base):
        plain = subprocess.check_output([python, "-I", "-S", "-c", look])
        # Without `-S`, as a training is started: there `site` has found the environment.
        shown = subprocess.check_output([python, "-I", "-c", name], text=True).strip()
        assert Path(shown).name == "autoinstrument worker"
        assert subprocess.check_output([shown, "-I", "-S", "-c", look], executable=python) == plain


def test_a_package_in_a_zip_archive_starts_its_worker_by_a_file(tmp_path, monkeypatch):
    """The copy of the program in the worker's folder is gone when the worker serves."""
    archive = shutil.make_archive(str(tmp_path / "package"), "zip", ROOT, "autoinstrument")
    monkeypatch.setenv("AUTOINSTRUMENT_HOME", str(tmp_path / "home"))
    code = f"""
import sys
sys.path.insert(0, {archive!r})
from autoinstrument.transport import worker_process
worker = worker_process.start("process")
assert worker_process.__file__.startswith({archive!r})
worker.settle()
print(worker.folder.path, flush=True)
with worker.connect():
    sys.stdin.read()
"""
    started = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    folder = Path(started.stdout.readline().strip())
    (process,) = wait_for(lambda: [each for each in processes_of(folder) if is_serving(each)])
    assert process.cmdline()[3] == str(folder / "program.py")
    assert [file.name for file in folder.iterdir()] == ["socket"]
    started.communicate()
    wait_for(lambda: not folder.exists())


def processes_of(folder):
    """Return the worker of a folder: its command line names it."""
    return [process for process in psutil.process_iter(["cmdline"]) if str(folder) in (process.info["cmdline"] or [])]


STATUS = """
status = "print([line for line in open('/proc/self/status') if line.startswith(('SigBlk', 'SigIgn'))])"
print(subprocess.run([sys.executable, "-c", status], check=True, capture_output=True, text=True).stdout)
"""

SIGNALLED = """
from autoinstrument.worker.termination import ignore_signals, termination
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
ignore_signals()
for name in "HUP INT QUIT TERM USR1 USR2 ALRM PIPE TSTP TTIN TTOU CONT VTALRM PROF XCPU RTMIN".split():
    os.kill(os.getpid(), getattr(signal, "SIG" + name))
assert subprocess.run([sys.executable, "-c", "raise SystemExit(3)"]).returncode == 3
assert termination.is_requested
"""


def test_the_worker_ignores_signals_and_the_programs_it_starts_do_not():
    """Git and its filters could not be ended by a signal that they inherit as ignored or blocked."""

    def run(script):
        command = [sys.executable, "-c", "import os, signal, subprocess, sys\n" + script + STATUS]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    assert run(SIGNALLED) == run("")
    assert run("")[0] == 0


def _is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
