"""Checks of `doctor` in this environment: interpreter, start-up files, switch, settings, versions, Git."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path

from autoinstrument.bootstrap.startup_files import site_folders
from autoinstrument.capture.checkout import Checkout
from autoinstrument.capture.git import GitError
from autoinstrument.capture.lock_files import lock_files_without_this_package
from autoinstrument.capture.requirements import to_install
from autoinstrument.cli.checks import Check
from autoinstrument.cli.hook_files import SITECUSTOMIZE, START_UP, sitecustomize
from autoinstrument.cli.tracing import Traced
from autoinstrument.integrations.mlflow_internals import lost
from autoinstrument.journal.state_folder import home
from autoinstrument.settings import INTERNAL, SWITCH, TABLE, Settings, SettingsError, enabled
from autoinstrument.transport import own_python
from autoinstrument.versions import CLEARML, MLFLOW, NEWEST_PYTHON, OLDEST_PYTHON, WRAPT

_LIBRARIES = {"mlflow": MLFLOW, "clearml": CLEARML, "wrapt": WRAPT}


def interpreter() -> Check:
    """Check the version of this Python."""
    oldest, newest = OLDEST_PYTHON, NEWEST_PYTHON
    return Check(
        "Python", oldest <= sys.version_info[:2] <= newest,
        "{}.{}.{}, ".format(*sys.version_info[:3]) + sys.executable,
        f"Use Python {oldest[0]}.{oldest[1]} to {newest[0]}.{newest[1]}.",
    )  # fmt: skip


def worker() -> Check:
    """Check that the worker can be a separate process."""
    if sys.platform == "win32":
        return Check("worker", None, "a thread of the training process, as always on Windows")
    if (python := own_python.interpreter()) is None:
        return Check("worker", None, f"a thread of the training process: {own_python.NoPythonError()}")
    return Check("worker", True, f"a process of {python}")


def start_up_files() -> Iterator[Check]:
    """Find the files that start the agent, and compare them with those of this release."""
    found = False
    runs = "autoinstrument-init.start" if sys.version_info >= (3, 15) else "autoinstrument-init.pth"
    for folder in dict.fromkeys(site_folders()):
        for name, content in START_UP.items():
            path = folder / name
            if not path.is_file():
                continue
            found = found or name == runs
            try:
                same = path.read_bytes() == content
            except OSError:
                same = False
            if same and name != runs:
                continue
            detail = "as shipped" if same else "is not what was shipped"
            detail += ", runs" if name == runs else ", not used by this Python"
            yield Check(
                f"start-up file {path}", same, detail, "Look at it, remove it, and run `autoinstrument install`."
            )
    yield from _sitecustomize(needed=not found)


def _sitecustomize(*, needed: bool) -> Iterator[Check]:
    shipped, winner = sitecustomize(), ""
    folders = [entry for entry in sys.path if entry and Path(entry) != Path.cwd()]
    for folder in folders:
        spec = PathFinder.find_spec("sitecustomize", [folder])
        if spec is None or not spec.origin:
            continue
        try:
            is_shipped = Path(spec.origin).read_bytes() == shipped
        except OSError:
            is_shipped = False
        if is_shipped:
            yield Check(
                f"start-up file {spec.origin}", not winner or not needed,
                f"shadowed by {winner}" if winner else "as shipped, runs",
                f"Put {folder} in front of {Path(winner).parent} on PYTHONPATH." if winner else "",
            )  # fmt: skip
            needed = False
        elif not winner:
            yield Check(f"{SITECUSTOMIZE} of another tool", None, f"{spec.origin} runs, too")
        winner = winner or spec.origin
    if needed:
        yield Check(
            "start-up file",
            False,
            "none is in place",
            "Run `autoinstrument install`, or start the training by `autoinstrument run`.",
        )


def switch(value: str | None) -> Check:
    """Check `AUTOINSTRUMENT_ENABLED` as it was when the command was called."""
    on = enabled({"AUTOINSTRUMENT_ENABLED": value or ""})
    detail = "AUTOINSTRUMENT_ENABLED is not set" if value is None else f"AUTOINSTRUMENT_ENABLED={value}"
    remedy = "Set AUTOINSTRUMENT_ENABLED=1 where the training starts, or start it by `autoinstrument run`."
    return Check("switch", on, f"{detail}: {'on' if on else 'off'}", remedy)


def settings(environ: Mapping[str, str]) -> Iterator[Check]:
    """Check each setting and name the source of its value; then report variables that are not settings."""
    derived = {"home": str(home(Settings())), "mlflow_ui": "the tracking URI"}
    for setting in TABLE:
        given = environ.get(setting.variable, "").strip()
        try:
            setting.read(environ)
        except SettingsError as error:
            yield Check(setting.variable, False, str(error), "Correct the variable, or unset it.")
            continue
        default = derived.get(setting.field) or setting.text(setting.default) or "none"
        detail = f"{given} (environment)" if given else f"{default} (default)"
        yield Check(setting.variable, True if given else None, detail)
    known = {SWITCH.variable, *INTERNAL, *(setting.variable for setting in TABLE)}
    for name in sorted(environ):
        if name.startswith("AUTOINSTRUMENT_") and name not in known:
            yield Check(name, False, "there is no such setting", "Correct its name, or unset it.")


def versions() -> Iterator[Check]:
    """Compare the installed versions with the tested ones."""
    for name, supported in _LIBRARIES.items():
        found = next(filter(_version, (name, "mlflow-skinny") if name == "mlflow" else (name,)), "")
        if not found:
            yield Check(name, False, "not installed", f"Install {name} into this environment.")
            continue
        version, good = _version(found), supported.covers(_version(found))
        yield Check(found, good, f"{version} (tested: {supported})", f"Install a version from {supported}.")


def _version(distribution: str) -> str:
    """Return the version of a package that is installed, "" if it is not."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def working_copy() -> Check:
    """Check that Git answers for the working directory, so that a Task can hold the code as it is."""
    checkout = Checkout.of(Path())
    if checkout is None:
        return Check("Git", None, "no working copy here; a Task holds the text of the script")
    detail = f"{checkout.root}, {checkout.branch or 'no branch'} at {checkout.commit[:8] or 'no commit'}"
    if not checkout.remote:
        return Check("Git", None, f"{detail}, without a remote; a Task holds the text of the script")
    lacks, remedy = checkout.refusal, checkout.remedy
    if checkout.commit and not lacks:
        try:
            checkout.diff()
        except GitError as error:
            lacks, remedy = str(error), f"`git -C {shlex.quote(str(checkout.root))} status` shows the reason"
    if not lacks:
        return Check("Git", True, detail)
    return Check(
        "Git",
        False,
        f"{detail}; its changes are not kept: {lacks}",
        f"{remedy[0].upper()}{remedy[1:]}.",
    )


def installation() -> Check:
    """Check that other machines can install this package: each Task requires it, so that its clones are mirrored."""
    missing: list[str] = []
    line = to_install("", sys.path, "", missing.append).strip()
    if ignored := list(lock_files_without_this_package(Path.cwd())):
        missing.append(f"{line} will be installed, but {ignored[0]}")
    return Check(
        "clones on other machines", None if missing else True, missing[0] if missing else f"{line} will be installed"
    )


def wrappers(traced: Traced) -> Check:
    """Check which functions of MLflow were wrapped when it was imported with the agent on."""
    steps = traced.steps
    wrapped, errors = set(steps.get("wrapped", [])), steps.get("error", [])
    if "started" not in steps:
        return Check("wrappers", False, "the start-up file did not run", "Run `autoinstrument install`.")
    if not wrapped:
        reason = (traced.stderr.strip().splitlines() or ["MLflow was not imported"])[-1]
        return Check("wrappers", False, reason, "Run `autoinstrument explain` to see the step that failed.")
    detail = f"{len(wrapped)} functions of MLflow are wrapped"
    if errors:
        return Check("wrappers", False, f"{detail}; {errors[0]}", "Training is not affected; please report it.")
    return Check("wrappers", True, detail)


def lost_wrappers(traced: Traced) -> Iterator[Check]:
    """Find functions that could not be wrapped, although MLflow's version should have them."""
    version = next(iter(traced.steps.get("version", [])), "")
    if names := lost(traced.steps.get("not wrapped", []), version):
        yield Check(
            "functions of MLflow", False,
            f"{version} lacks some, so that calls of them are not mirrored: {', '.join(names)}",
            "Run `autoinstrument verify`: it finds what a Task lacks, and names the command that completes it. Please "
            "report this version of MLflow.",
        )  # fmt: skip
