"""Read the Task that an agent runs in a short-lived process, so that the training process does not import clearml."""

from __future__ import annotations

_LIMIT_S = 60.0
_CODE = "import sys; from autoinstrument.clone_run.read_task import main; main(sys.argv[1])"


def read(task_id: str) -> str:
    """Return the description of a Task as JSON, "" if it cannot be read, which is logged.

    Raises:
        OSError, subprocess.SubprocessError: the process did not start, or did not end in time.
    """
    from autoinstrument.guard import logger
    from autoinstrument.transport import own_python

    done = own_python.run(_CODE, task_id, timeout_s=_LIMIT_S)
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:]
        logger().warning("the Task that the agent runs cannot be read, its settings do not count: %s", *reason or ["?"])
        return ""
    return done.stdout.splitlines()[-1]
