"""The report of a worker about itself: its processes and runs, the data that waits, and its cost."""

from __future__ import annotations

import os

import psutil

from autoinstrument._version import __version__
from autoinstrument.process_identity import created_ms
from autoinstrument.records import ServedProcess, ServedRun, WorkerReported
from autoinstrument.scrubber import hide_in_text
from autoinstrument.worker.live_run import LiveRun
from autoinstrument.worker.run_registry import RunRegistry
from autoinstrument.worker.training_process import TrainingProcess


def report(registry: RunRegistry, problem: str, failing_since_ms: int) -> WorkerReported:
    """Return the report of this process's worker; for the thread that changes the registry.

    Args:
        registry: its processes and runs.
        problem: why requests to ClearML fail, "" if they do not.
        failing_since_ms: since when they fail, 0 if they do not.
    """
    own = psutil.Process()
    return WorkerReported(
        pid=os.getpid(),
        started_ms=created_ms(os.getpid()),
        version=__version__,
        processes=[_process(process) for process in registry.processes],
        runs=[_run(mirror) for mirror in registry.mirrors.values()],
        memory_bytes=own.memory_info().rss,
        cpu_s=round(sum(own.cpu_times()[:4]), 2),  # its own and its children's, in user and in system mode
        problem=hide_in_text(problem),
        failing_since_ms=failing_since_ms,
    )


def _process(process: TrainingProcess) -> ServedProcess:
    started = process.started
    script = (started.main_path or started.main_module or started.main_kind) if started else ""
    return {"pid": process.pid, "script": script, "runs": sorted(process.runs), "is_gone": process.gone_at is not None}


def _run(mirror: LiveRun) -> ServedRun:
    run, task = mirror.run, mirror.task
    return {
        "run_id": run.run_id,
        "run_name": run.run_name,
        "experiment": run.experiment_name,
        "task_url": task.url if task else "",
        "has_ended": mirror.end is not None,
        "waits": mirror.has_work,
        "waiting_bytes": mirror.weight,
    }
