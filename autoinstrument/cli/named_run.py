"""Find the run or the Task that a word of the command line means."""

from __future__ import annotations

import re
from typing import Any

import click

from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.cli.run_rows import MOST_ROWS, chosen, listed_rows
from autoinstrument.guard import visible
from autoinstrument.mlflow_store.link_tags import TASK_ID
from autoinstrument.mlflow_store.runs import StoredRun, find_run
from autoinstrument.mlflow_store.store_errors import NotFoundError, problem_of
from autoinstrument.settings import read_settings

_TASK_ID = re.compile(r"[0-9a-f]{32}")


def named_run(word: str) -> StoredRun:
    """Return the run that a word means: the id of a run or of its Task, the first characters of one, or a name.

    Raises:
        click.ClickException: no run is meant, or several are, or MLflow does not answer.
    """
    try:
        return find_run(word)
    except NotFoundError:
        rows, problem = listed_rows(read_settings(), limit=MOST_ROWS)
        return find_run(chosen(rows, word, problem).run_id)
    except Exception as error:  # MLflow's store raises what its driver raises
        raise click.ClickException(problem_of(error)) from None


def named_task(word: str, tasks: Tasks) -> dict[str, Any]:
    """Return the Task that a word means: its own id, or its run as `named_run` finds it.

    Raises:
        click.ClickException: there is no such run, or it has no Task.
        ClearMLError: the server does not answer.
    """
    if _TASK_ID.fullmatch(word) and (task := tasks.get(word)):
        return task
    run = named_run(word).run
    task_id = tasks.of_run(run.run_id, run.tags.get(TASK_ID, ""))
    task = tasks.get(task_id) if task_id else {}
    if not task:
        raise click.ClickException(
            f"{visible(run.run_name or run.run_id)} has no Task: `autoinstrument sync --run {run.run_id}` makes one"
        )
    return task
