"""What `doctor` looks at in this environment: interpreter, start-up files, switch, settings, versions."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path

from autoinstrument.bootstrap.startup_files import site_folders
from autoinstrument.capture.git import Checkout, GitError
from autoinstrument.cli.checks import Check
from autoinstrument.cli.hook_files import SITECUSTOMIZE, START_UP, sitecustomize
from autoinstrument.cli.tracing import Traced
from autoinstrument.journal.run_journal import home
from autoinstrument.settings import Settings, SettingsError, enabled, read_settings
from autoinstrument.versions import CLEARML, MLFLOW, NEWEST_PYTHON, OLDEST_PYTHON, WRAPT

_LIBRARIES = {"mlflow": MLFLOW, "clearml": CLEARML, "wrapt": WRAPT}
_NOT_SETTINGS = ("AUTOINSTRUMENT_ENABLED", "AUTOINSTRUMENT_CLONE", "AUTOINSTRUMENT_EXPLAIN")


def interpreter() -> Check:
    """Look at the Python that runs this."""
    oldest, newest = OLDEST_PYTHON, NEWEST_PYTHON
    return Check(
        "Python", oldest <= sys.version_info[:2] <= newest,
        "{}.{}.{}, ".format(*sys.version_info[:3]) + sys.executable,
        f"Use Python {oldest[0]}.{oldest[1]} to {newest[0]}.{newest[1]}.",
    )  # fmt: skip


def start_up_files() -> Iterator[Check]:
    """Look for the files that start the agent, and whether they are what was shipped."""
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
            detail = "as shipped" if same else "is not what was shipped"
            detail += ", runs" if name == runs else ", not used by this Python"
            yield Check(
                f"start-up file {path}", same, detail, "Look at it, remove it, and run `autoinstrument install`."
            )
    yield from _sitecustomize(needed=not found)


def _sitecustomize(*, needed: bool) -> Iterator[Check]:
    ours, winner = sitecustomize(), ""
    folders = [entry for entry in sys.path if entry and Path(entry) != Path.cwd()]
    for folder in folders:
        spec = PathFinder.find_spec("sitecustomize", [folder])
        if spec is None or not spec.origin:
            continue
        try:
            is_ours = Path(spec.origin).read_bytes() == ours
        except OSError:
            is_ours = False
        if is_ours:
            yield Check(
                f"start-up file {spec.origin}", not winner or not needed,
                f"shadowed by {winner}" if winner else "as shipped, runs",
                f"Put {folder} in front of {Path(winner).parent} on PYTHONPATH." if winner else "",
            )  # fmt: skip
            needed = False
        elif not winner:
            yield Check(f"{SITECUSTOMIZE} of somebody else's", None, f"{spec.origin} runs, too")
        winner = winner or spec.origin
    if needed:
        yield Check(
            "start-up file", False, "none is in place", "Run `autoinstrument install`, or `autoinstrument run`."
        )


def switch(value: str | None) -> Check:
    """Look at `AUTOINSTRUMENT_ENABLED` as it was when the command was called."""
    on = enabled({"AUTOINSTRUMENT_ENABLED": value or ""})
    detail = "AUTOINSTRUMENT_ENABLED is not set" if value is None else f"AUTOINSTRUMENT_ENABLED={value}"
    remedy = "Set AUTOINSTRUMENT_ENABLED=1 where the training starts, or start it by `autoinstrument run`."
    return Check("switch", on, f"{detail}: {'on' if on else 'off'}", remedy)


class _Asked(dict[str, str]):
    """An environment that remembers which variables it was asked for."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.names: list[str] = []

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        self.names.append(name)
        return super().get(name, default)


def settings(environ: Mapping[str, str]) -> Iterator[Check]:
    """Look at each setting and where its value comes from, and at variables that are no setting."""
    asked = _Asked({})
    defaults = _defaults(asked)
    for name in dict.fromkeys(asked.names):
        value = environ.get(name, "").strip()
        if not value:
            yield Check(name, None, f"{defaults.get(name) or 'none'} (default)")
            continue
        try:
            read_settings({name: value})
        except SettingsError as error:
            yield Check(name, False, str(error), "Correct the variable, or unset it.")
        else:
            yield Check(name, True, f"{value} (environment)")
    for name in sorted(environ):
        if name.startswith("AUTOINSTRUMENT_") and name not in (*asked.names, *_NOT_SETTINGS):
            yield Check(name, False, "there is no such setting", "Correct its name, or unset it.")


def _defaults(asked: Mapping[str, str]) -> dict[str, object]:
    """Return what each variable has by default, also where that depends on this machine."""
    values: Settings = read_settings(asked)
    values = values._replace(home=str(home(values)), mlflow_ui="the tracking URI")
    return {f"AUTOINSTRUMENT_{name.removesuffix('_s').upper()}": value for name, value in values._asdict().items()}


def versions() -> Iterator[Check]:
    """Compare what is installed with what is tested."""
    for name, supported in _LIBRARIES.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            other = "mlflow-skinny" if name == "mlflow" else ""
            try:
                version = metadata.version(other)
            except (metadata.PackageNotFoundError, ValueError):
                yield Check(name, False, "not installed", f"Install {name} into this environment.")
                continue
        good = supported.covers(version)
        yield Check(name, good, f"{version} (tested: {supported})", f"Install a version from {supported}.")


def working_copy() -> Check:
    """Look whether Git answers for the working directory, so that a Task can have the code as it is."""
    checkout = Checkout.of(Path())
    if checkout is None:
        return Check("Git", None, "no working copy here; a Task has the script's text")
    detail = f"{checkout.root}, {checkout.branch or 'no branch'} at {checkout.commit[:8] or 'no commit'}"
    if not checkout.remote:
        return Check("Git", None, f"{detail}, without a remote; a Task has the script's text")
    lacks, remedy = checkout.refusal, checkout.remedy
    if checkout.commit and not lacks:
        try:
            checkout.diff()
        except GitError as error:
            lacks, remedy = str(error), f"`git -C {shlex.quote(str(checkout.root))} status` says more"
    if not lacks:
        return Check("Git", True, detail)
    return Check("Git", False, f"{detail}; its changes are not kept: {lacks}", f"{remedy[0].upper()}{remedy[1:]}.")


def wrappers(traced: Traced) -> Check:
    """Look at what was wrapped when MLflow was imported with the agent armed."""
    steps = traced.steps
    wrapped, missing = sorted(set(steps.get("wrapped", []))), sorted(set(steps.get("not wrapped", [])))
    errors = steps.get("error", [])
    if "started" not in steps:
        return Check("wrappers", False, "the start-up file did not run", "Run `autoinstrument install`.")
    if not wrapped:
        said = (traced.stderr.strip().splitlines() or ["MLflow was not seen"])[-1]
        return Check("wrappers", False, said, "See `autoinstrument explain` for the step that failed.")
    detail = f"{len(wrapped)} functions of MLflow"
    if missing:
        detail += f"; not in this version: {', '.join(missing)}"
    if errors:
        return Check("wrappers", False, f"{detail}; {errors[0]}", "Training is not affected; please report it.")
    return Check("wrappers", True, detail)
