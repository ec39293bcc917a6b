"""Start a clone's program where its origin was started, if that is not the folder in which an agent finds its module.

`python -m package` runs anywhere if the package was installed from a folder such as `src`. The Task's `working_dir` is
that folder: `-m` finds the module there with its uncommitted changes, whatever the agent installs. But the program's
relative paths count from where it was started. Python takes `sys.path[0]` for `-m` from the working directory after the
start-up files have run (CPython 3.10 to 3.13), so that it is the one of the origin, too.
"""

from __future__ import annotations

import os
import sys

from autoinstrument.clone_run import task_description
from autoinstrument.clone_run.entry_point import runs_module_of

TYPE_CHECKING = False  # type checkers take it for typing's
if TYPE_CHECKING:
    from autoinstrument.clone_run.task_description import TaskDescription


def enter_start_folder(description: TaskDescription) -> None:
    """Change to the start folder that a Task names, once below an agent: children begin where their parents are.

    This process must run a module that the Task's entry point names: its program, or a launcher, whose own relative
    paths count from there, too. It and its children find the modules of the folder that it leaves.
    """
    start, working_dir = description.get("start_folder", ""), description.get("working_dir", "")
    if not start or not runs_module_of(description.get("entry_point", "")):
        return
    import json

    from autoinstrument.guard import logger

    remaining = description.copy()
    del remaining["start_folder"]
    task_description.pass_on(json.dumps(remaining))
    left = os.getcwd()  # noqa: PTH109  (pathlib takes 5 ms)
    root = _root(left, working_dir)
    if not root:  # something else than the agent has started it, elsewhere
        return
    folder = inside(root, start)
    try:
        os.chdir(folder)
    except OSError:
        logger().warning(
            "START_FOLDER=%s of the Task is no folder of its code: the program starts in %s", start, working_dir
        )
        return
    _search_first(left)


def inside(root: str, folder: str) -> str:
    """Return the path of a folder below the root, without links; "" if it lies outside."""
    path, top = os.path.realpath(os.path.join(root, folder)), os.path.realpath(root)  # noqa: PTH118
    return path if path == top or path.startswith(os.path.join(top, "")) else ""  # noqa: PTH118


def _root(place: str, working_dir: str) -> str:
    """Return the folder in which a working folder has this place, "" if its place ends otherwise."""
    root = place
    for _ in filter(lambda part: part not in ("", "."), working_dir.split("/")):
        root = os.path.dirname(root)  # noqa: PTH120
    is_there = os.path.normcase(os.path.normpath(os.path.join(root, working_dir))) == os.path.normcase(place)  # noqa: PTH118
    return root if is_there else ""


def _search_first(folder: str) -> None:
    """Put a folder on the search path of this process and its children, before installed packages of the same name."""
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)
    given = os.environ.get("PYTHONPATH", "")
    if folder not in given.split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join([folder, *([given] if given else [])])
