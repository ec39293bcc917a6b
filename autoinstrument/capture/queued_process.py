"""The description of a program that has not been started: it is queued for another machine to run."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from autoinstrument.records import ProcessStarted


def queued_process(
    kind: str,
    *,
    folder: Path,
    line: str,
    path: str = "",
    module: str = "",
    sys_path: Sequence[str],
    python: str = "{}.{}.{}".format(*sys.version_info[:3]),
    source: str = "",
) -> ProcessStarted:
    """Return the description of the process that will run a program.

    Args:
        kind: "script", "module" or "notebook", see `ProcessStarted.main_kind`.
        folder: its working directory.
        line: its arguments as a shell takes them.
        path: its file, "" for a module that is installed.
        module: its dotted name, "" for a script.
        sys_path: where its packages are installed here.
        python: version of Python that it needs.
        source: the cells of a notebook.
    """
    return ProcessStarted(
        pid=0, started_ms=int(time.time() * 1000), host="", user="", python=python, executable=sys.executable,
        cwd=str(folder), argv=[], main_kind=kind, main_path=path, main_module=module, source=source,
        sys_path=list(sys_path), modules=[], arguments=[("argv", line, "")] if line else [],
    )  # fmt: skip
