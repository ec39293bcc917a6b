"""The cause of a process's death, as far as Linux shows it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from autoinstrument.worker import cause_of_death
from autoinstrument.worker.cause_of_death import memory_kills, signal_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_signal_is_known_until_the_parent_takes_it(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"]) as process:
        assert signal_of(process.pid) == ""
        os.kill(process.pid, number)
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            pass
        assert signal_of(process.pid) == number.name
        process.wait()
        assert signal_of(process.pid) == ""
    assert signal_of(0) == ""


def test_the_signal_of_a_process_whose_name_is_no_text() -> None:
    """The kernel cuts names after 15 bytes, in the middle of a character too (`setproctitle`, `prctl`)."""
    script = """if True:
        import ctypes, time
        ctypes.CDLL(None).prctl(15, b"\\xc3\\xa4" * 8, 0, 0, 0)
        print(flush=True)
        time.sleep(600)
    """
    with subprocess.Popen([sys.executable, "-S", "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            pass
        assert Path(f"/proc/{process.pid}/stat").read_bytes().count(b"\xc3)") == 1
        assert signal_of(process.pid) == "SIGKILL"


def test_processes_killed_for_lack_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the control group count, else those of the machine; a system that shows neither has none."""
    files = {
        "/proc/self/cgroup": "0::/job \udcff\n",  # a group's name may be any bytes
        "/sys/fs/cgroup/job \udcff/memory.events": "oom 4\noom_kill 3\n",
        "/proc/vmstat": "oom_kill 7\n",
    }
    for name, text in files.items():
        (tmp_path / name[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name[1:]).write_bytes(os.fsencode(text))
    monkeypatch.setattr(cause_of_death, "Path", lambda name: tmp_path / name[1:])
    assert memory_kills() == 3
    (tmp_path / "sys/fs/cgroup/job \udcff/memory.events").unlink()
    assert memory_kills() == 7
    (tmp_path / "proc/vmstat").unlink()
    assert memory_kills() == 0
