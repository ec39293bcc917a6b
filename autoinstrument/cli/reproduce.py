"""`autoinstrument reproduce`: a folder with the code, the packages and the command line of a run."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import click

from autoinstrument.clearml_api.errors import ClearMLError
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.cli.examples import examples
from autoinstrument.cli.named_run import named_task
from autoinstrument.cli.output import wrapped
from autoinstrument.cli.usage_errors import reports_bad_settings
from autoinstrument.reproduction.code_folder import CodeError, make_code, start_folder_in_code, working_folder
from autoinstrument.reproduction.environment import InstallError, make_environment, python_of, requirements_here
from autoinstrument.reproduction.recipe import Recipe, program_words, recipe_of
from autoinstrument.reproduction.start_file import Start, run_start_file, shown, write_start_file

_CODE = "code"


@click.command(
    short_help="Make a folder that runs a run's program again.",
    epilog=examples(
        "autoinstrument reproduce 3f2a91c0",
        "autoinstrument reproduce bold-ant --run",
        "autoinstrument reproduce 3f2a91c0 --folder /tmp/again --python python3.11",
    ),
)
@click.argument("run", metavar="RUN")
@click.option("--run", "starts", is_flag=True, help="Start the program, and exit with its exit code.")
@click.option("--folder", type=click.Path(path_type=Path), help="Folder to make; by default named by the run, here.")
@click.option("--repo", default="", help="Repository to clone in place of the recorded one, such as a folder.")
@click.option("--python", default="", help="Use this interpreter and its packages; make no environment.")
@click.pass_obj
@reports_bad_settings
def reproduce(enabled: str | None, run: str, starts: bool, folder: Path | None, repo: str, python: str) -> None:
    """Make a folder that runs RUN again: code, packages and command line, as its Task recorded them.

    RUN is the id of a run or of a Task, the first characters of one, or the name of a run. The folder has the commit
    with its uncommitted changes (`code`), a virtual environment (`.venv`, made by uv if it is installed), and `run.sh`
    with the variables and the command line. The program is only started with --run. As with a ClearML agent, code and
    packages are those that the Task names: reproduce only Tasks that you trust.
    """
    try:
        recipe = recipe_of(named_task(run, Tasks(Session())))
    except (ClearMLError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    target = (folder or Path(_folder_name(recipe))).absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise click.ClickException(f"{_near(target)} exists: start it from there, or name another `--folder`")
    interpreter = _interpreter(python)
    _report(f"code: {recipe.repository or 'from the Task'} {recipe.commit}".rstrip())
    was_there = target.exists()
    try:
        target.mkdir(parents=True, exist_ok=True)
        notes = make_code(recipe, target / _CODE, repo)
        working_dir = working_folder(recipe, target / _CODE)
        started_in = start_folder_in_code(recipe, target / _CODE) or working_dir
    except (CodeError, OSError) as error:
        shutil.rmtree(target / _CODE if was_there else target, ignore_errors=True)
        raise click.ClickException(str(error)) from None
    words = [*program_words(recipe.entry_point, working_dir), *recipe.arguments]
    start = Start(
        f"{recipe.name}, as the Task {recipe.task_id} recorded it",
        _from(target, started_in),
        "" if recipe.is_shell else interpreter or python_of(target).relative_to(target).as_posix(),
        words,
        recipe.variables,
        [_from(started_in, working_dir / entry) for entry in recipe.search],
    )
    start_file = write_start_file(target, start)
    try:
        if not interpreter:
            _report("packages: a new environment")
            notes += make_environment(recipe, target, requirements_here(recipe, _CODE))
    except (InstallError, OSError) as error:
        raise click.ClickException(str(error)) from None
    finally:
        for note in [*recipe.notes, *notes]:
            _report(f"note: {note}")
    if not starts:
        click.echo(f"{_near(start_file)} runs: {shown([*([] if recipe.is_shell else ['python']), *words])}")
        return
    environment = {**os.environ, **({} if enabled is None else {"AUTOINSTRUMENT_ENABLED": enabled})}
    sys.exit(run_start_file(start_file, environment))


def _folder_name(recipe: Recipe) -> str:
    name = re.sub(r"[^\w.-]+", "-", recipe.name).strip("-.")[:60]
    return f"{name or 'run'}-{recipe.task_id[:8]}"


def _interpreter(python: str) -> str:
    """Return the path of the interpreter that an option names, "" for none."""
    if not python:
        return ""
    found = shutil.which(python)
    if found is None:
        raise click.UsageError(f"there is no program {python!r}")
    return str(Path(found).absolute())


def _from(folder: Path, path: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _near(path: Path) -> str:
    """Return a path relative to the working directory, if it is below that."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _report(line: str) -> None:
    click.echo(wrapped(line), err=True)
