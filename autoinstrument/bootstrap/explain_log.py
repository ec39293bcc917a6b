"""Note what the agent does in a process, for `autoinstrument explain`: nothing unless that has set the variable.

The file exists already and is the asking user's; one line a step, so that several processes can write to it.
"""

import os

VARIABLE = "AUTOINSTRUMENT_EXPLAIN"
_LONGEST = 2000


def note(step, detail=""):
    # type: (str, object) -> None
    """Write down a step of this process; nothing that goes wrong here is of any consequence."""
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
    except Exception:  # noqa: S110  (the file is gone: nobody asks any more)
        pass
