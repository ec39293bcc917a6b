"""Recognise the process that runs a Task's own program: launchers and helpers below an agent have other arguments."""

from __future__ import annotations

import os
import sys

LAUNCHERS = ("torch.distributed.", "accelerate.commands.")
"""Beginnings of the names of modules that start the program in processes of their own."""


def runs_entry_point(entry_point: str) -> bool:
    """Return True if this process runs the program of an entry point, and is not a launcher or a helper of it."""
    import shlex

    from autoinstrument.bootstrap.program import what_runs

    option, program = what_runs(sys.orig_argv[1:])
    if option not in ("", "m") or program.startswith(LAUNCHERS):
        return False
    if is_copy_of_script(program):
        return True
    names = [os.path.basename(word) for word in shlex.split(entry_point)]  # noqa: PTH119
    return os.path.basename(program) in names  # noqa: PTH119


def runs_module_of(entry_point: str) -> bool:
    """Return True if this process runs a module (`-m`) that an entry point names: the program's, or the launcher's."""
    import shlex

    from autoinstrument.bootstrap.program import what_runs

    option, program = what_runs(sys.orig_argv[1:])
    return option == "m" and program in shlex.split(entry_point)


def is_copy_of_script(program: str) -> bool:
    """Return True if a program is the file to which ClearML's SDK has written the script of a Task without Git.

    `LocalClearmlJob` runs it from the temporary folder, without arguments (clearml 1.16 to 2.1.12).
    """
    from autoinstrument.integrations.clearml_current_task import is_local_job

    if not is_local_job():
        return False
    import tempfile

    folder, name = os.path.split(os.path.abspath(program))  # noqa: PTH100
    return folder == tempfile.gettempdir() and name.startswith(tempfile.gettempprefix()) and name.endswith(".py")


def has_arguments_of(entry_point: str) -> bool:
    """Return True if this process has arguments, and they are the last ones of the entry point.

    A job on this machine is given none.
    """
    import shlex

    given = getattr(sys, "argv", [])[1:]
    if not given and is_copy_of_script(sys.orig_argv[-1]):
        return True
    return bool(given) and shlex.split(entry_point)[-len(given) :] == given
