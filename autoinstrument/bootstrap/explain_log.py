"""Log the steps of the agent in a process, for `autoinstrument explain`, which sets the variable.

The variable names a file of the user who runs `explain`. Each step is one line, so that several processes can write.
"""

import os

VARIABLE = "AUTOINSTRUMENT_EXPLAIN"
_LONGEST = 2000


def note(step, detail=""):
    # type: (str, object) -> None
    """Log a step of this process, if the variable is set; errors are ignored.

    Args:
        step: the step's name, which `explain` knows.
        detail: what it was about, shown as text.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        return
    try:
        import json

        line = json.dumps([os.getpid(), step, str(detail)[:_LONGEST]]) + "\n"
        file = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0))
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)
    except Exception:  # noqa: S110  (the file is gone: `explain` has ended)
        pass
