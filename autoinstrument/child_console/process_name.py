"""How the lines of a process are named in the console of another process's run."""

from __future__ import annotations

import os
import sys

from autoinstrument.bootstrap.training_around import rank

_LONGEST = 60


def process_name() -> str:
    """Return the rank or the name of this process, as in `rank 1`, `ForkPoolWorker-2`, `evaluate.py 4711`."""
    names = [f"rank {rank(os.environ)}"] if rank(os.environ) else []
    process = sys.modules.get("multiprocessing.process")
    try:
        if process is not None and process.parent_process() is not None:
            names.append(str(process.current_process().name))
    except Exception:  # noqa: S110  (the script's own class of processes may do anything)
        pass
    if not names:
        program = os.path.basename(str(sys.argv[0])) if getattr(sys, "argv", None) else ""  # noqa: PTH119
        names.append(f"{'python' if program in ('', '-c', '-m', '-') else program} {os.getpid()}")
    return "".join(letter for letter in ", ".join(names) if letter.isprintable())[:_LONGEST]
