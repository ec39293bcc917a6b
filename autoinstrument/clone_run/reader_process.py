"""Read the Task that an agent runs in a short-lived process, so that the training process does not import clearml."""

from __future__ import annotations

import os
import subprocess
import sys

_LIMIT_S = 60.0
# Without the script's folder, where the agent starts it and which it has put on PYTHONPATH: a `logging.py` in it is not
# meant for this process.
_CODE = """import os, sys; here = os.path.realpath('.')
sys.path[:] = [path for path in sys.path if path and os.path.realpath(path) != here]
from autoinstrument.clone_run.read_task import main; main(sys.argv[1])"""


def read(task_id: str) -> str:
    """Return the description of a Task as JSON, "" if it cannot be read, which is logged.

    Raises:
        OSError, subprocess.SubprocessError: the process did not start, or did not end in time.
    """
    from autoinstrument.guard import logger
    from autoinstrument.transport.hidden_variables import HIDDEN

    done = subprocess.run(
        [sys.executable, "-c", _CODE, task_id],
        env={name: value for name, value in os.environ.items() if name not in HIDDEN} | {"AUTOINSTRUMENT_ENABLED": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_LIMIT_S,
        check=False,
    )
    if done.returncode != 0:
        reason = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        logger().warning("the Task that the agent runs cannot be read, its settings do not count: %s", *reason or ["?"])
        return ""
    return done.stdout.decode().splitlines()[-1]
