"""Find the files of the user's own code: those that the process has loaded, and those that a thread is running.

Runs in the training process. A file is the user's own if it belongs to no installation and not to this package.
"""

# os.path: pathlib would be one more module in the user's process.
# ruff: noqa: PTH100, PTH117, PTH118, PTH120
from __future__ import annotations

import os
import sys

_INSTALLED = tuple(
    os.path.join(folder, "")
    for folder in (
        os.path.dirname(getattr(os, "__file__", "")),
        os.path.dirname(sys.executable or ""),
        os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    )
    if folder
)
"""Where the standard library, the commands of the environment, and this package are."""
_MOST_CALLERS, _MOST_FILES = 20, 500


def loaded(*folders: str) -> dict[str, str]:
    """Return the files of loaded modules that are the user's own, by the modules' names, those in `folders` first."""
    found = {}
    for name, module in list(sys.modules.items()):  # a copy: another thread may be importing
        try:  # past the module's own ways to look up an attribute: a lazy one would be loaded
            file = object.__getattribute__(module, "__dict__").get("__file__")
        except AttributeError:  # anything may stand in for a module, as cffi's libraries do
            continue
        is_main = name in ("__main__", "__mp_main__")
        if isinstance(name, str) and isinstance(file, str) and file.endswith(".py") and not is_main and _is_own(file):
            found[name] = os.path.normpath(file)
    near = tuple(os.path.join(folder, "") for folder in folders if folder)
    return dict(sorted(found.items(), key=lambda item: not item[1].startswith(near))[:_MOST_FILES])


def on_stack() -> list[str]:
    """Return the files of the user's own code that this thread is running, from the innermost call outwards."""
    frame = sys._getframe(1)
    files: dict[str, None] = {}
    while frame is not None:
        file = frame.f_code.co_filename
        if not os.path.isabs(file):  # a script's name as it was typed: `__file__` has its folder too (Python 3.9+)
            file = frame.f_globals.get("__file__") or file
        if isinstance(file, str) and _is_own(file):
            files[file] = None
        frame = frame.f_back  # type: ignore[assignment]
    return list(files)[:_MOST_CALLERS]


def _is_own(file: str) -> bool:
    """Return True if a file is the user's own: it belongs to no installation and not to this package."""
    return (  # in this order, because most of the files of 2,000 modules are installed
        "site-packages" not in file
        and "dist-packages" not in file
        and not file.startswith(_INSTALLED)
        and os.path.isabs(file)
    )
