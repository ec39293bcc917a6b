"""The worker that a run starts is a Python process of its own, which neither the agent nor the job's signals reach."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from autoinstrument.transport import worker_process
from tests.end_to_end.processes import wait_for

ON = {"AUTOINSTRUMENT_ENABLED": "1"}

# Runs at the start of every interpreter of the environment, after our own start-up file ("p" comes after "a").
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
    end = time.monotonic() + 30
    while _is_running(worker) and time.monotonic() < end:
        time.sleep(0.1)
    assert not _is_running(worker)


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
        wait_for(lambda: [process.name() for process in processes_of(worker.folder)] == ["autoinstrument"])
        (process,) = processes_of(worker.folder)
        assert process.cmdline()[1:4] == [
            "-I",
            "-S",
            str(Path(worker_process.__file__).parents[1] / "worker/program.py"),
        ]
    wait_for(lambda: not worker.folder.exists())


def processes_of(folder):
    """Return the worker of a folder: its command line names it."""
    return [process for process in psutil.process_iter(["cmdline"]) if str(folder) in (process.info["cmdline"] or [])]


STATUS = """
status = "print([line for line in open('/proc/self/status') if line.startswith(('SigBlk', 'SigIgn'))])"
print(subprocess.run([sys.executable, "-c", status], check=True, capture_output=True, text=True).stdout)
"""

SIGNALLED = """
from autoinstrument.worker.program import ignore_signals
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
ignore_signals()
for name in "HUP INT QUIT TERM USR1 USR2 ALRM PIPE TSTP TTIN TTOU CONT VTALRM PROF XCPU RTMIN".split():
    os.kill(os.getpid(), getattr(signal, "SIG" + name))
assert subprocess.run([sys.executable, "-c", "raise SystemExit(3)"]).returncode == 3
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
