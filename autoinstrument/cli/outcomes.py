"""Print the outcomes of the runs that `sync` has handled."""

from __future__ import annotations

import sys
from collections import Counter

import click

from autoinstrument.cli.output import table, wrapped
from autoinstrument.mlflow_store.left_out import LEFT_OUT
from autoinstrument.sync.selection import Outcome


def kind_of(outcome: Outcome) -> tuple[str, str]:
    """Return the key by which outcomes are counted: the result, and the reason of an omission, which has no line."""
    return outcome.result, outcome.detail if outcome.result == LEFT_OUT else ""


def print_outcome(outcome: Outcome, before: Outcome | None = None) -> None:
    """Print one line: an address stands beside the result, a reason after a colon.

    Args:
        outcome: the outcome of a run, or the problem of a server, which is printed to stderr.
        before: a failure with the same reason that was printed before, so that its reason is not printed again.
    """
    name = outcome.run_name or outcome.run_id
    if not name:
        if before is None:
            click.echo(wrapped(outcome.detail), err=True)
        return
    separator = " " if outcome.detail.startswith("http") else ": "
    result = f"{outcome.result}{separator}{outcome.detail}" if outcome.detail else outcome.result
    if before is not None:
        same = before.run_name or before.run_id
        result = f"{outcome.result}, as {same}" if same else outcome.result
    click.echo(wrapped(f"{name}: {result}"))
    sys.stdout.flush()


def sum_up(counts: Counter[tuple[str, str]], nothing: str) -> None:
    """Print how often there was each outcome; if there was none, `nothing`, which may be empty."""
    if not counts:
        if nothing:
            click.echo(nothing)
        return
    rows = [(result, count, reason) for (result, reason), count in sorted(counts.items())]
    has_reasons = any(reason for _, _, reason in rows)
    table(["result", "runs", "reason"] if has_reasons else ["result", "runs"], [row[: 2 + has_reasons] for row in rows])
