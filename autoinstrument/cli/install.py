"""`autoinstrument install` and `uninstall`: add the start-up files to an environment, and remove them."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

import click

from autoinstrument import atomic_file
from autoinstrument._version import __version__
from autoinstrument.cli.examples import examples
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

_TARGET_HELP = "An interpreter, a virtual environment, its site-packages, or a folder on PYTHONPATH."


@click.command(
    short_help="Write the start-up files into an environment.",
    epilog=examples("autoinstrument install", "autoinstrument install --target /opt/conda/envs/train"),
)
@click.option("--target", default="", metavar="PATH", help=f"{_TARGET_HELP} By default this environment.")
@click.option("--sitecustomize", "by_sitecustomize", is_flag=True, help="sitecustomize.py in place of .pth and .start.")
def install(target: str, by_sitecustomize: bool) -> None:
    """Write the start-up files where an interpreter reads them; the package itself is installed by pip.

    A folder on PYTHONPATH gets a sitecustomize.py, because Python reads no .pth files there. The written files are
    listed in autoinstrument-hook.json beside them. Running it again changes nothing.
    """
    try:
        folder, reads_pth = folder_of(target)
        files = {SITECUSTOMIZE: sitecustomize()} if by_sitecustomize or not reads_pth else START_UP
        _write_missing(folder, files)
    except (HookError, OSError) as error:
        _fail(error)
    if not (folder / "autoinstrument" / "__init__.py").is_file() and (target or by_sitecustomize):
        _warn_of_missing_package(folder, reads_pth=reads_pth)
    if not reads_pth:
        click.echo(f"set PYTHONPATH={folder} and AUTOINSTRUMENT_ENABLED=1 to switch it on")


@click.command(
    short_help="Remove the start-up files.", epilog=examples("autoinstrument uninstall --target /opt/conda/envs/train")
)
@click.option("--target", default="", metavar="PATH", help=f"{_TARGET_HELP} By default this environment.")
@click.option("--purge", is_flag=True, help="Delete journals and logs in AUTOINSTRUMENT_HOME, too; asks first.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@reports_bad_settings
def uninstall(target: str, purge: bool, yes: bool) -> None:
    """Remove the start-up files that pip or `install` has written; a file that was changed since stays.

    `pip uninstall autoinstrument` removes the package, and these files with it.
    """
    settings = read_settings() if purge else Settings()
    if purge and not (yes or sys.stdin.isatty()):
        raise click.UsageError("`--purge` asks before it deletes, and there is no terminal: add `--yes`")
    try:
        folder, _ = folder_of(target)
        changed = _remove(folder)
    except (HookError, OSError) as error:
        _fail(error)
    if purge:
        _purge(settings, yes=yes)
    sys.exit(1 if changed else 0)


def _write_missing(folder: Path, files: dict[str, bytes]) -> None:
    """Write the files that are missing.

    Raises:
        HookError: a file of that name exists and was not written by `install`.
        OSError: the folder cannot be written.
    """
    listed = owned(folder)
    for name, content in files.items():
        present = _content(folder / name)
        if present not in (None, content) and digest(present or b"") != listed.get(name):
            raise HookError(
                f"{folder / name} exists and is not a file of autoinstrument; use another folder (`--target`)"
            )
    for name, content in files.items():
        if _content(folder / name) == content:
            click.echo(f"{folder / name} is in place already")
            continue
        atomic_file.write(folder / name, content, mode=0o666)
        listed[name] = digest(content)
        manifest = json.dumps({"autoinstrument": __version__, "files": listed}, indent=2).encode()
        atomic_file.write(folder / MANIFEST, manifest, mode=0o666)
        click.echo(f"{folder / name} written")


def _remove(folder: Path) -> bool:
    """Remove the start-up files and the manifest; return True if a file stays because it was changed.

    Raises:
        HookError: the manifest cannot be read.
        OSError: a file cannot be removed.
    """
    listed, taken = owned(folder), False
    shipped = {**START_UP, SITECUSTOMIZE: sitecustomize()}
    for name, as_shipped in shipped.items():
        path = folder / name
        present = _content(path)
        if present is None:
            listed.pop(name, None)
        elif digest(present) in (listed.get(name), digest(as_shipped)):
            path.unlink()
            listed.pop(name, None)
            taken = True
            if name == SITECUSTOMIZE:
                _forget_bytecode(folder)
            click.echo(f"{path} removed")
        elif name in listed or name != SITECUSTOMIZE:
            click.echo(f"{path} was changed since and stays; look at it, then remove it by hand", err=True)
            listed[name] = listed.get(name, "")
    if listed:
        return True
    (folder / MANIFEST).unlink(missing_ok=True)
    if not taken:
        click.echo(f"nothing to remove in {folder}")
    return False


def _forget_bytecode(folder: Path) -> None:
    """Remove the bytecode of the package's sitecustomize.py."""
    cache = folder / "__pycache__"
    for file in cache.glob("sitecustomize.*.pyc"):
        file.unlink()
    with contextlib.suppress(OSError):
        cache.rmdir()  # only where nothing else is in it


def _purge(settings: Settings, *, yes: bool) -> None:
    """Remove journals and logs from the state folder, and the folder if it is empty then."""
    folder = home(settings)
    pending = list(RunJournals(settings))
    if not folder.is_dir():
        click.echo(f"{folder} does not exist: nothing to delete")
        return
    waiting = (
        f"; {len(pending)} runs in it have no complete Task (`autoinstrument sync` completes them)" if pending else ""
    )
    if not yes and not click.confirm(f"Delete journals and logs in {folder}{waiting}?"):
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
    click.echo(f"{folder} holds other files, and stays" if folder.exists() else f"{folder} removed")


def _warn_of_missing_package(folder: Path, *, reads_pth: bool) -> None:
    where = "with the pip of that environment" if reads_pth else f"by `pip install --target {folder} WHEEL`"
    click.echo(
        f"the package is not in {folder}, and without it the start-up files do nothing: install its wheel {where}",
        err=True,
    )


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _fail(error: Exception) -> None:
    if isinstance(error, OSError):
        where = os.fsdecode(error.filename or "")
        remedy = "run it as a user who may write there, or use `--target` with a folder on PYTHONPATH"
        error = HookError(f"{where}: {(error.strerror or 'failed').lower()}; {remedy}")
    click.echo(f"autoinstrument: {error}", err=True)
    sys.exit(1)
