"""Make the script section of a Task: the code that a training process runs, in ClearML's terms.

ClearML's own `ScriptInfo` is not used. Seen in 1.16.5 and 2.1.12, called from another process than the one that trains:
the working directory and `-m` are those of the caller; an entry script that Git does not know yet is not in the diff; a
changed binary file makes the diff one that `git apply` refuses; a script reached through a symbolic link has no
repository; without a remote the Task has a patch and nothing to apply it to; and Git runs the repository's fsmonitor
without a time limit (measured: still waiting after 100 s). The fields have the same
meaning as there and in clearml-agent 3.0.3.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from autoinstrument.capture.bundle import bundle
from autoinstrument.capture.checkout import Checkout
from autoinstrument.capture.code import Code, code_of, command_name, module_root, python_name, read
from autoinstrument.capture.git import GitError
from autoinstrument.capture.launcher import launched
from autoinstrument.capture.patch import instead, new_file, sentence, too_large
from autoinstrument.capture.project_files import texts_of, untracked_files
from autoinstrument.capture.settings import CaptureSettings
from autoinstrument.capture.uncommitted_changes import changes_of
from autoinstrument.clearml_switches import clearml_variable
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.records import ProcessStarted
from autoinstrument.scrubber import without_credentials

_ENTRY_POINT = "CLEARML_VCS_ENTRY_POINT"


class Script(NamedTuple):
    """The script section of a Task, under the names of ClearML's API (`tasks.create`, `script`)."""

    repository: str
    branch: str
    version_num: str
    """The commit's full hash."""
    entry_point: str
    """File relative to `working_dir`, or "-m module", with the arguments that no parser can read from the Task."""
    working_dir: str
    """Relative to the repository's root."""
    diff: str
    """Changes since the commit; without a repository, the script itself, see `bundle` for one of several files."""
    binary: str


def script_of(
    process: ProcessStarted,
    settings: Callable[[], CaptureSettings] = CaptureSettings,
    lacks: Callable[[str], object] = lambda _: None,
    *,
    folder: Path | None = None,
) -> Script:
    """Return the script section for the process's Task, with its arguments; see `without_arguments`."""
    return with_arguments(without_arguments(process, settings, lacks, folder=folder), process)


def without_arguments(
    process: ProcessStarted,
    settings: Callable[[], CaptureSettings] = CaptureSettings,
    lacks: Callable[[str], object] = lambda _: None,
    *,
    by_git: bool = True,
    folder: Path | None = None,
) -> Script:
    """Return the script section without arguments. Takes about 30 ms with a repository, a minute at most.

    Args:
        process: the training process; once it has ended, its launcher is not found any more.
        settings: returns ClearML's own settings.
        lacks: called with one line: what Git does not give, why, and what a person can do; the section's `diff` has it
            too.
        by_git: whether Git is asked; else the repository is described by its files, which takes a millisecond.
        folder: the program is queued for another machine: all files in this folder are needed, also those that Git
            does not know (see `capture.project_files`), and a commit that no remote has is useless.
    """
    launcher = launched(process.pid, process.main_path, process.main_module)  # first: the process may be gone soon
    cwd = Path(process.cwd or ".")
    code = code_of(process, cwd)
    if clearml_variable("VCS_REPO_URL"):
        script = _given_by_environment(code, cwd)
    else:
        place = _existing(code.folder)
        checkout = Checkout.of(place) if by_git else Checkout.read(place)
        if checkout is not None and checkout.remote and checkout.commit and _is_usable(checkout, folder, lacks):
            try:
                script = _in_checkout(code, checkout, cwd, process, settings, lacks, folder)
            except GitError as error:
                checkout = Checkout.read(place, str(error)) or checkout
                script = _in_checkout(code, checkout, cwd, process, settings, lacks, folder)
        else:
            script = _alone(code, checkout, process, texts_of(cwd, lacks) if folder else {})
        if checkout is not None and checkout.lacks:
            lacks(checkout.lacks)
    script = _overridden(_with_launcher(script, process, launcher))
    return script if settings().stored else script._replace(diff="")


def with_arguments(script: Script, process: ProcessStarted) -> Script:
    """Return the script section with the arguments that no parser has read by name so far.

    Arguments that argparse has read are in the Task's section Args, from which a clone's parser gets them. All others
    are part of the entry point; clearml-agent splits them as a shell does.
    """
    argv = process.arguments[0][1] if [name for name, _, _ in process.arguments] == ["argv"] else ""
    if not argv or process.main_kind == "notebook" or os.environ.get(_ENTRY_POINT):
        return script
    entry = script.entry_point if script.entry_point.startswith("-m ") else shlex.quote(script.entry_point)
    return script._replace(entry_point=f"{entry} {argv}")


def _alone(code: Code, checkout: Checkout | None, process: ProcessStarted, beside: Mapping[str, str]) -> Script:
    """Return the section without a repository that an agent could clone: the texts of the user's own files."""
    branch, commit = (checkout.branch, checkout.commit) if checkout else ("", "")
    name = code.name or (python_name(code.file) if code.file else "")
    if several := bundle(code, process, beside):
        if code.module and not code.text:
            name = command_name(code.module.rpartition(".")[2])
        return Script("", branch, commit, name, ".", f"{_missing(checkout)}{several}", "")
    if code.module and code.file is None:
        return Script("", branch, commit, f"-m {code.module}", ".", "", "")
    text = code.text or (read(code.file) if code.file else "")
    if too_large(text):
        text = instead("The script is larger than the 500 kB that ClearML keeps.")
    return Script("", branch, commit, name, ".", f"{_missing(checkout)}{text}", "")


def _in_checkout(
    code: Code,
    checkout: Checkout,
    cwd: Path,
    process: ProcessStarted,
    settings: Callable[[], CaptureSettings],
    lacks: Callable[[str], object],
    folder: Path | None,
) -> Script:
    working_dir = _working_dir(code, checkout, cwd)
    if checkout.refusal:
        return _committed(code, checkout, working_dir)
    base = (checkout.published() if folder or settings().from_remote else "") or checkout.commit
    entry, inside, leave_out = "", "", list[str]()
    added: list[Callable[[], bytes]] = []
    beside: list[Callable[[], bytes]] = []
    if code.text and not (code.file and checkout.tracks(checkout.inside(code.file))):
        entry = _free_name(checkout.root / working_dir, code.name)
        added = [functools.partial(new_file, _join(working_dir, entry), code.text)]
        leave_out = [":(exclude)*.ipynb"] if process.main_kind == "notebook" else []
    elif code.file is not None:
        inside = checkout.inside(code.file)
        entry = _relative(code.file, checkout.root / working_dir)
        leave_out = [f":(exclude,literal){inside}"] if code.text else []
        if not code.text and not checkout.tracks(inside):
            added = [functools.partial(checkout.addition, inside)]
    if folder:
        names = [name for name in untracked_files(checkout, folder, lacks) if name != inside]
        beside = [functools.partial(checkout.addition, name) for name in names]
    return Script(
        checkout.remote,
        checkout.branch,
        base,
        f"-m {code.module}" if code.module and not (code.text and added) else entry,
        working_dir,
        changes_of(code, checkout, base, added, beside, leave_out, process, lacks),
        "",
    )


def _is_usable(checkout: Checkout, folder: Path | None, lacks: Callable[[str], object]) -> bool:
    """Return False if a program is queued whose remote has none of the commits, which is reported."""
    if folder is None or checkout.refusal:
        return True
    with contextlib.suppress(GitError):
        if not checkout.published():
            lacks(
                f"nothing has been pushed to {checkout.remote}: the files of this folder travel with the Task instead"
            )
            return False
    return True


def _committed(code: Code, checkout: Checkout, working_dir: str) -> Script:
    """Return the section for a repository about which Git does not answer; the diff says why."""
    if code.text:
        entry = _free_name(checkout.root / working_dir, code.name)
        text = f"{_missing(checkout)}{code.text}"
    else:
        entry = _relative(code.file, checkout.root / working_dir) if code.file is not None else ""
        text = instead(sentence(checkout.lacks))
    entry = f"-m {code.module}" if code.module and not code.text else entry
    return Script(checkout.remote, checkout.branch, checkout.commit, entry, working_dir, text, "")


def _with_launcher(script: Script, process: ProcessStarted, launcher: str) -> Script:
    """Put the launcher before the entry point."""
    entry = script.entry_point
    if launcher:
        entry = f"{launcher} {entry.removeprefix('-m ') if entry.startswith('-m ') else shlex.quote(entry)}"
    version = ".".join(process.python.split(".")[:2])
    return script._replace(entry_point=entry, binary=f"python{version}")


def _given_by_environment(code: Code, cwd: Path) -> Script:
    """Take the repository from ClearML's variables, for containers that hold the code without its `.git`."""
    root = Path(os.path.realpath(cwd / clearml_variable("VCS_ROOT")))
    given = Checkout(
        root=root,
        remote=without_credentials(clearml_variable("VCS_REPO_URL")),
        branch=clearml_variable("VCS_BRANCH"),
        commit=clearml_variable("VCS_COMMIT_ID"),
    )
    working_dir = _working_dir(code, given, cwd)
    entry = f"-m {code.module}" if code.module else code.name
    if not entry and code.file is not None:
        entry = _relative(code.file, root / working_dir)
    return Script(given.remote, given.branch, given.commit, entry, working_dir, code.text, "")


def _overridden(script: Script) -> Script:
    """Apply ClearML's variables for single fields (clearml/config/defs.py, clearml 1.16 to 2.1.12).

    A diff that is given as the empty text means none.
    """
    diff = clearml_variable("VCS_DIFF")
    is_given = bool({"CLEARML_VCS_DIFF", "TRAINS_VCS_DIFF"} & os.environ.keys())
    return script._replace(
        entry_point=os.environ.get(_ENTRY_POINT) or script.entry_point,
        working_dir=os.environ.get("CLEARML_VCS_WORK_DIR") or script.working_dir,
        diff=base64.b64decode(diff).decode("utf-8", "replace") if is_given else script.diff,
    )


def _missing(checkout: Checkout | None) -> str:
    """Return a comment on what the script lacks, "" if it lacks nothing."""
    return f"# {sentence(checkout.lacks)}\n" if checkout is not None and checkout.lacks else ""


def _existing(folder: Path) -> Path:
    return next((place for place in (folder, *folder.parents) if place.is_dir()), Path())


def _working_dir(code: Code, checkout: Checkout, cwd: Path) -> str:
    """Return the folder in which an agent must start the code; see `capture.code.module_started_in`."""
    # A module may have been found through sys.path and not in the working directory: `-m` must find it there again.
    root = module_root(code.file, code.module) if code.module and code.file is not None else None
    return (checkout.inside(root) if root is not None else "") or checkout.inside(cwd) or "."


def _free_name(folder: Path, name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    number = 0
    while (folder / name).exists():  # an agent would run the file that is there
        number += 1
        name = f"{stem}_{number}{dot}{suffix}"
    return name


def _relative(file: Path, folder: Path) -> str:
    return os.path.relpath(os.path.realpath(file), folder).replace(os.sep, "/")


def _join(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"
