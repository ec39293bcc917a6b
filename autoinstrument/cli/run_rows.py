"""Runs as `status` and `open` list them: those of the tracking server, and those that wait on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import click

from autoinstrument.journal.liveness import why_alive
from autoinstrument.journal.run_journal import RunJournal, RunJournals
from autoinstrument.mlflow_store.left_out import LEFT_OUT, is_left_out
from autoinstrument.mlflow_store.link_tags import STATE, TASK_ID, TASK_URL
from autoinstrument.mlflow_store.runs import default_tracking_uri, latest_runs
from autoinstrument.mlflow_store.store_errors import NotFoundError, problem_of, shown
from autoinstrument.mlflow_store.urls import named
from autoinstrument.scrubber import hide_in_text, without_credentials
from autoinstrument.settings import Settings

MOST_ROWS = 1000
"""How many of the latest runs commands search for a name, or for the first characters of an id."""


class Row(NamedTuple):
    """A run as commands list it."""

    run_id: str
    run_name: str
    experiment: str
    started_ms: int
    status: str
    """Status in MLflow, "" if the tracking server does not know the run."""
    state: str
    """`live`, `synced`, `pending`, `left out` (of an experiment that AUTOINSTRUMENT_EXPERIMENTS leaves out), or "" for
    a run that was never mirrored."""
    task_id: str
    task_url: str
    run_url: str
    workspace: str
    """Workspace in MLflow, "" for the default one, and where there are none."""
    pending: str
    """What must still be done for the run and why, "" for nothing."""

    @property
    def place(self) -> str:
        """The experiment, after the workspace if that is not the default one."""
        return f"{self.workspace}: {self.experiment}" if self.workspace else self.experiment


def listed_rows(settings: Settings, *, experiments: tuple[str, ...] = (), limit: int) -> tuple[list[Row], str]:
    """Return the runs that began last, the newest first, and why the tracking server's are missing, "" if they are not.

    Args:
        settings: those of the command.
        experiments: names of experiments, empty for all.
        limit: maximum number of runs of the tracking server. Those that wait on this machine are all listed.

    Raises:
        NotFoundError: there is no experiment of one of the names.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    waiting, problem = _recorded(settings), ""
    try:
        rows = _stored(experiments, limit, waiting, settings)
    except NotFoundError:
        raise
    except Exception as error:  # MLflow's store raises what its driver raises
        rows, problem = [], problem_of(error)
    listed = {row.run_id for row in rows}
    here = [row for row in waiting.values() if row.run_id not in listed]
    rows += [row for row in here if not experiments or row.experiment in experiments]
    rows.sort(key=lambda row: row.started_ms, reverse=True)
    return rows, problem


def chosen(rows: list[Row], word: str, problem: str) -> Row:
    """Return the run that a word means.

    Args:
        rows: the runs, the newest first.
        word: the id of a run or of its Task, the first characters of one, or the name of a run; "" for the newest.
        problem: why runs are missing among the rows, "" if they are not.

    Raises:
        click.ClickException: no run is meant, or several are.
    """
    named = [row for row in rows if word == row.run_name]
    found = (
        named
        if word and named
        else [row for row in rows if row.run_id.startswith(word)]
        or [row for row in rows if row.task_id.startswith(word)]
    )
    if not word:
        found = found[:1]
    if not found:
        store = shown(default_tracking_uri())
        nothing = f"there is no run {word!r} in {store}; `autoinstrument status` lists runs"
        raise click.ClickException(problem or (nothing if word else f"there are no runs yet in {store}"))
    if len(found) > 1:
        ids = ", ".join(row.run_id[:8] for row in found[:5])
        raise click.ClickException(f"{len(found)} runs are meant by {word!r}: name one by its id ({ids})")
    return found[0]


def _stored(experiments: tuple[str, ...], limit: int, waiting: dict[str, Row], settings: Settings) -> list[Row]:
    rows = []
    for stored in latest_runs(experiments=experiments, limit=limit):
        run, tags = stored.run, stored.run.tags
        state = tags.get(STATE, "")
        recorded = waiting.get(run.run_id)
        if not recorded and is_left_out(run, settings.experiments):
            state = LEFT_OUT
        pending = recorded.pending if recorded else stored.left_open
        if state == "pending" and not recorded:
            pending = (
                f"not recorded here: `autoinstrument sync` where it ran, or `sync --run {run.run_id}`, completes it"
            )
        row = Row(
            run.run_id, run.run_name, run.experiment_name, run.start_time_ms, stored.status, state,
            tags.get(TASK_ID, ""), tags.get(TASK_URL, ""), without_credentials(run.run_url),
            named(run.workspace), pending,
        )  # fmt: skip
        rows.append(row)
    return rows


def _recorded(settings: Settings) -> dict[str, Row]:
    """Return the runs that are recorded on this machine, by id."""
    rows = {}
    for folder in RunJournals(settings):
        try:
            journal = RunJournal.load(folder)
        except FileNotFoundError:
            continue  # its Task has become complete in the meantime
        except (OSError, ValueError) as error:
            rows[folder.name] = _damaged(folder, error)
            continue
        run, alive = journal.run, bool(why_alive(journal))
        if alive:
            pending = ""  # it is being mirrored
        else:
            what = "its Task is not complete" if journal.task_id else "it has no Task yet"
            what = "its link tags are not written" if journal.delivered else what
            pending = (
                f"{what}{journal.reason and ': '}{hide_in_text(journal.reason)}; `autoinstrument sync` completes it"
            )
        rows[run.run_id] = Row(
            run.run_id, run.run_name, run.experiment_name, run.start_time_ms, "", "live" if alive else "pending",
            journal.task_id, journal.task_url, without_credentials(run.run_url), named(run.workspace), pending,
        )  # fmt: skip
    return rows


def _damaged(folder: Path, error: Exception) -> Row:
    reason = f"its journal cannot be read ({' '.join(str(error).split())[:200]})"
    return Row(folder.name, "", "", 0, "", "pending", "", "", "", "", reason)
