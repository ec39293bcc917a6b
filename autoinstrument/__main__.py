"""`python -m autoinstrument`."""

import os
import sys

# `-m` puts the working directory first: a `json.py` or `clearml.py` that stands there is not for us.
if sys.path and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109  (pathlib might be the one that stands there)
    del sys.path[0]

from autoinstrument.cli import main

if __name__ == "__main__":  # the processes of `sync --jobs` import this module where they are not forked
    main()
