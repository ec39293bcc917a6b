"""`autoinstrument install` and `uninstall`: put the hook into an environment, and take every trace of it away."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

import click

from autoinstrument import atomic_file
from autoinstrument._version import __version__
from autoinstrument.cli.hook_files import (
    MANIFEST,
    SITECUSTOMIZE,
    START_UP,
    HookError,
    digest,
    folder_of,
    owned,
    sitecustomize,
)
from autoinstrument.cli.usage_errors import reports_bad_settings
from autoinstrument.journal.run_journal import RunJournals, remove_folder
from autoinstrument.journal.state_folder import home
from autoinstrument.settings import Settings, read_settings

_TARGET_HELP = "An interpreter, a virtual environment, its site-packages, or a folder that stands on PYTHONPATH."


@click.command()
@click.option("--target", default="", metavar="PATH", help=f"{_TARGET_HELP} By default this environment.")
@click.option("--sitecustomize", "by_sitecustomize", is_flag=True, help="sitecustomize.py in place of .pth and .start.")
def install(target: str, by_sitecustomize: bool) -> None:
    """Put the start-up files where an interpreter reads them; the package itself is put there by pip.

    A folder for PYTHONPATH gets a sitecustomize.py, because Python reads no .pth files there. What was put is listed
    in autoinstrument-hook.json beside it. Repeating it changes nothing.
    """
    try:
        folder, reads_pth = folder_of(target)
        files = {SITECUSTOMIZE: sitecustomize()} if by_sitecustomize or not reads_pth else START_UP
        _put(folder, files)
    except (HookError, OSError) as error:
        _fail(error)
    if not (folder / "autoinstrument" / "__init__.py").is_file() and (target or by_sitecustomize):
        _say_what_is_missing(folder, reads_pth=reads_pth)
    if not reads_pth:
        click.echo(f"PYTHONPATH={folder} arms it, where AUTOINSTRUMENT_ENABLED=1")


@click.command()
@click.option("--target", default="", metavar="PATH", help=f"{_TARGET_HELP} By default this environment.")
@click.option("--purge", is_flag=True, help="Captures and logs in AUTOINSTRUMENT_HOME too; asks first.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@reports_bad_settings
def uninstall(target: str, purge: bool, yes: bool) -> None:
    """Take away the start-up files that pip or `install` has put there; one that was changed since stays.

    `pip uninstall autoinstrument` takes the package away, and these files with it.
    """
    settings = read_settings() if purge else Settings()
    if purge and not (yes or sys.stdin.isatty()):
        raise click.UsageError("--purge asks before it deletes; add --yes where nobody can answer")
    try:
        folder, _ = folder_of(target)
        changed = _take(folder)
    except (HookError, OSError) as error:
        _fail(error)
    if purge:
        _purge(settings, yes=yes)
    sys.exit(1 if changed else 0)


def _put(folder: Path, files: dict[str, bytes]) -> None:
    """Write what is not there yet.

    Raises:
        HookError: something else is there under the same name.
        OSError: the folder cannot be written.
    """
    ours = owned(folder)
    for name, content in files.items():
        present = _content(folder / name)
        if present not in (None, content) and digest(present or b"") != ours.get(name):
            raise HookError(f"{folder / name} is there already and is not ours; use another folder (--target)")
    for name, content in files.items():
        if _content(folder / name) == content:
            click.echo(f"{folder / name} is in place already")
            continue
        atomic_file.write(folder / name, content, mode=0o666)
        ours[name] = digest(content)
        manifest = json.dumps({"autoinstrument": __version__, "files": ours}, indent=2).encode()
        atomic_file.write(folder / MANIFEST, manifest, mode=0o666)
        click.echo(f"{folder / name} written")


def _take(folder: Path) -> bool:
    """Remove our files and the manifest; tell whether one was left because it was changed.

    Raises:
        HookError: the manifest cannot be read.
        OSError: a file cannot be removed.
    """
    ours, taken = owned(folder), False
    shipped = {**START_UP, SITECUSTOMIZE: sitecustomize()}
    for name, as_shipped in shipped.items():
        path = folder / name
        present = _content(path)
        if present is None:
            ours.pop(name, None)
        elif digest(present) in (ours.get(name), digest(as_shipped)):
            path.unlink()
            ours.pop(name, None)
            taken = True
            if name == SITECUSTOMIZE:
                _forget_bytecode(folder)
            click.echo(f"{path} removed")
        elif name in ours or name != SITECUSTOMIZE:
            click.echo(f"{path} was changed since and stays; look at it, then remove it by hand", err=True)
            ours[name] = ours.get(name, "")
    if ours:
        return True
    (folder / MANIFEST).unlink(missing_ok=True)
    if not taken:
        click.echo(f"nothing to remove in {folder}")
    return False


def _forget_bytecode(folder: Path) -> None:
    """Remove what Python has compiled of our sitecustomize.py."""
    cache = folder / "__pycache__"
    for file in cache.glob("sitecustomize.*.pyc"):
        file.unlink()
    with contextlib.suppress(OSError):
        cache.rmdir()  # only where nothing else is in it


def _purge(settings: Settings, *, yes: bool) -> None:
    """Remove what is ours in the state folder, and the folder if that was all."""
    folder = home(settings)
    pending = list(RunJournals(settings))
    if not folder.is_dir():
        click.echo(f"{folder} is not there")
        return
    waiting = f"; {len(pending)} runs in it have no complete Task (`autoinstrument sync` makes it)" if pending else ""
    if not yes and not click.confirm(f"Delete captures and logs in {folder}{waiting}?"):
        click.echo(f"{folder} stays")
        return
    try:
        for run_folder in pending:
            remove_folder(run_folder)
        for log in folder.glob("worker.log*"):
            log.unlink()
        for empty in (folder / "captures", folder):
            with contextlib.suppress(OSError):
                empty.rmdir()
    except OSError as error:
        _fail(error)
    click.echo(f"{folder} holds files that are not ours, and stays" if folder.exists() else f"{folder} removed")


def _say_what_is_missing(folder: Path, *, reads_pth: bool) -> None:
    command = "that environment's `pip install`" if reads_pth else f"`pip install --target {folder}`"
    click.echo(f"the package is not in {folder}, and without it the hook does nothing; {command} brings it", err=True)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _fail(error: Exception) -> None:
    if isinstance(error, OSError):
        where = os.fsdecode(error.filename or "")
        remedy = "run it as a user who may write there, or use --target with a folder for PYTHONPATH"
        error = HookError(f"{where}: {(error.strerror or 'failed').lower()}; {remedy}")
    click.echo(f"autoinstrument: {error}", err=True)
    sys.exit(1)
