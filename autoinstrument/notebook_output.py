"""Show the agent's lines in a notebook, where a page that has seen the end of a cell drops what comes later for it.

A line that comes while no cell runs waits for the next one, and so does one that `%%capture` would put into a variable
of the user's. Seen with IPython 8 and 9, ipykernel 6 and 7.

marimo (0.25) has streams of its own, too. While a cell runs, they show a text below it; at other times, it goes to the
stderr of marimo's server.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

_KERNELS = ("ipykernel", "marimo.")
"""How the modules of the kernels' streams begin."""

_waiting: list[Callable[[], None]] = []


def is_page(stream: object) -> bool:
    """Return True for a stream whose text a notebook's kernel shows below the cell (ipykernel 6 and 7, marimo 0.25).

    Its descriptor and its binary buffer, if it has them, are those that the kernel was started with.
    """
    return any(str(kind.__module__).startswith(_KERNELS) for kind in type(stream).__mro__)


def show(write: Callable[[], None], text: str, html: str = "") -> None:
    """Show a line in the cell that runs now, or in the next one if none runs, or if its output is captured.

    Args:
        write: writes the line to the page as text.
        text: the line.
        html: the same with links; "" shows the text alone.
    """
    ipython: Any = sys.modules.get("IPython")
    shell: Any = ipython and ipython.get_ipython()
    if shell is None:
        write()
        return
    if html:
        write = partial(_publish, shell, {"text/plain": text, "text/html": html})
    if _runs_a_cell() and not _is_captured(shell):
        write()
        return
    _waiting.append(write)
    if len(_waiting) == 1:
        shell.events.register("pre_run_cell", _show_waiting)  # which changes nothing where it is registered


def _publish(shell: Any, data: dict[str, str]) -> None:
    shell.display_pub.publish(data)  # looked up now: while the line waited, it may have been another one


def _is_captured(shell: Any) -> bool:
    """Return True while what the cell displays is kept in a variable (`%%capture`, `capture_output`)."""
    module: Any = sys.modules.get("IPython.core.displaypub")
    return isinstance(shell.display_pub, getattr(module, "CapturingDisplayPublisher", ()))


def _show_waiting(*_: object) -> None:
    """Show what waits, in the cell that begins: called by IPython."""
    while _waiting:
        with contextlib.suppress(Exception):  # the page's stream is closed: no reason to disturb the cell
            _waiting.pop(0)()


def _runs_a_cell() -> bool:
    """Return True if the main thread is in the code of a cell."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        if frame.f_code.co_name == "run_code" and frame.f_globals.get("__name__") == "IPython.core.interactiveshell":
            return True
        frame = frame.f_back
    return False
