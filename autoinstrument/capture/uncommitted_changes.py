"""The uncommitted changes of a working copy, as a Task holds them and a ClearML agent applies them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from autoinstrument.capture.checkout import Checkout
from autoinstrument.capture.code import Code
from autoinstrument.capture.git import GitError
from autoinstrument.capture.patch import instead, patch, sentence, too_large
from autoinstrument.records import ProcessStarted


def changes_of(
    code: Code,
    checkout: Checkout,
    base: str,
    added: list[Callable[[], bytes]],
    beside: list[Callable[[], bytes]],
    leave_out: list[str],
    process: ProcessStarted,
    lacks: Callable[[str], object],
) -> str:
    """Return the text that stands for a working copy's changes in the Task's script section.

    Args:
        code: what the process runs.
        checkout: the working copy.
        base: the commit since which changes count.
        added: each returns the patch that adds a file which Git does not know: the program itself.
        beside: the same for other files.
        leave_out: paths whose changes are left out, see `Checkout.diff`.
        process: the training process; modules that it has loaded are added if Git does not know them.
        lacks: is called with the reason if the changes cannot be read.

    Returns:
        A patch, or the code itself if the working copy has no other change, or a script that says what is missing.
    """
    try:
        changes = checkout.diff(base, leave_out)
        new = [*(make() for make in (*added, *beside)), *_untracked_modules(checkout, process, code.file)]
        text = patch(changes, *new)
        if code.text and added and not patch(changes, *new[len(added) :]):
            text = code.text  # as ClearML stores notebooks: the code itself, easier to read than a patch
    except GitError as error:
        missing = f"the uncommitted changes of {checkout.root} could not be read: {error}"
        lacks(missing)
        text = instead(sentence(missing))
    if too_large(text):
        kilobytes = len(text.encode("utf-8", "replace")) // 1000
        text = instead(
            f"The uncommitted changes are {kilobytes} kB, more than the 500 kB that ClearML keeps with a Task.\n"
            f"None of them are kept here. They were in {checkout.root} on {process.host} when the run began.\n"
            "Clear this section to run a clone on the commit without them."
        )
    return text


def _untracked_modules(checkout: Checkout, process: ProcessStarted, main: Path | None) -> Iterator[bytes]:
    """Yield patches that add the modules that the process has loaded and Git does not know yet."""
    loaded = set(process.modules)
    roots = [Path(os.path.realpath(Path(process.cwd, entry))) for entry in process.sys_path]
    for inside in checkout.untracked("*.py"):
        file = checkout.root / inside
        for root in roots if file != main else []:
            if file.is_relative_to(root):
                name = ".".join(file.relative_to(root).with_suffix("").parts)
                if name.removesuffix(".__init__") in loaded:
                    yield checkout.addition(inside)
                    break
