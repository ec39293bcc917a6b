"""Put the probe into a checked command's first Python process; then go on as without it."""

import importlib.util
import os
import sys


def _run_next():
    # The package's own file, which arms the agent (if that is on) and runs the next sitecustomize on the path.
    from autoinstrument.bootstrap.startup_files import hook_folder

    spec = importlib.util.spec_from_file_location("sitecustomize", str(hook_folder() / "sitecustomize.py"))
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


try:
    from autoinstrument.check import probe

    probe.begin(os.path.dirname(os.path.abspath(__file__)))
except Exception as _error:
    sys.stderr.write(f"autoinstrument: the probe cannot be put in ({_error})\n")
_run_next()
