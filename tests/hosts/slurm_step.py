"""Treat the processes of one job step as SLURM's `slurmstepd` does, without SLURM; standard library only.

Usage: `python slurm_step.py JOB STEP TASKS COMMAND…`. It starts the command once per task, with the variables of
srun(1), and keeps all descendants together, daemons included: as their subreaper, and in a control group like SLURM's
(`…/job_4711/step_0/task_1`) where one can be made. A signal that the step receives goes to all of them, as from
`scancel --signal`, or before a preemption. When the last task has ended, what is left is killed, as `slurmstepd` does
it (SLURM 20.11 to 24.05 with proctrack/cgroup).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_SUBREAPER = 36
"""`PR_SET_CHILD_SUBREAPER` of prctl(2)."""
_HIERARCHIES = ("/sys/fs/cgroup/freezer", "/sys/fs/cgroup")
_FORWARDED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGCONT)


def descendants(pid: int) -> list[int]:
    """Return the ids of all processes below one."""
    below: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_bytes().rpartition(b")")[2].split()[1])
            below.setdefault(parent, []).append(int(folder.name))
    found = list(below.get(pid, []))
    for each in found:
        found += below.get(each, [])
    return found


def send(number: int) -> None:
    for pid in descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def control_group(job: str, step: str, task: int) -> Path | None:
    """Make the group of a task; return None where this user may not."""
    for hierarchy in _HIERARCHIES:
        group = Path(hierarchy) / "slurm" / f"uid_{os.getuid()}" / f"job_{job}" / f"step_{step}" / f"task_{task}"
        with contextlib.suppress(OSError):
            group.mkdir(parents=True, exist_ok=True)
            return group
    return None


def start(command: list[str], job: str, step: str, task: int, tasks: int) -> subprocess.Popen[bytes]:
    environ = {
        **os.environ,
        "SLURM_JOB_ID": job, "SLURM_STEP_ID": step, "SLURM_PROCID": str(task), "SLURM_LOCALID": str(task),
        "SLURM_NTASKS": str(tasks), "SLURM_NODEID": "0", "SLURMD_NODENAME": os.uname().nodename,
    }  # fmt: skip
    group = control_group(job, step, task)

    def enter() -> None:
        if group is not None:
            with contextlib.suppress(OSError):
                (group / "cgroup.procs").write_text(str(os.getpid()))

    return subprocess.Popen(command, env=environ, preexec_fn=enter)  # one thread: it is safe here


def remove(job: str) -> None:
    """Remove the groups of a job, which are empty now."""
    for hierarchy in _HIERARCHIES:
        top = Path(hierarchy) / "slurm"
        for folder in sorted(top.glob(f"uid_*/job_{job}/**/"), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()
        for folder in (*top.glob("uid_*"), top):
            with contextlib.suppress(OSError):
                folder.rmdir()


def main(job: str, step: str, tasks: int, command: list[str]) -> int:
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    for number in _FORWARDED:
        signal.signal(number, lambda number, _: send(number))
    started = [start(command, job, step, task, tasks) for task in range(tasks)]
    codes = [process.wait() for process in started]
    while left := descendants(os.getpid()):
        send(signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            for _ in left:
                os.waitpid(-1, os.WNOHANG)
        time.sleep(0.01)
    remove(job)
    return max(code if code >= 0 else 128 - code for code in codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]))
