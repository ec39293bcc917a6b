"""Options of `sync`: which go together, and which runs they select. The texts of the errors: test_usage.py."""

from __future__ import annotations

from datetime import datetime

import click
import pytest

from autoinstrument.cli.sync import sync
from autoinstrument.cli.sync_options import SyncOptions
from autoinstrument.sync.selection import Selection

SINCE = datetime(2026, 1, 1)
STORE = ({"everything": True}, {"experiments": ("vision",)})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"runs": ("a",), "full": True, "dry_run": True, "jobs": 4},
        {"runs": ("a",), "experiments": ("vision",), "since": SINCE},
        {"everything": True, "since": SINCE, "deleted": True, "dask": "localhost:8786"},
        {"follow": True, "others_after_s": 60.0, "health": ":8080"},
        {"follow": True, "live": True, "everything": True},
        {"follow": True, "live": True, "experiments": ("vision",)},
    ],
)
def test_options_that_go_together(options: dict[str, object]) -> None:
    SyncOptions(**options).check()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"everything": True, "runs": ("a",)},
        {"everything": True, "experiments": ("vision",)},
        {"since": SINCE},
        {"deleted": True},
        {"since": SINCE, "runs": ("a",)},
        {"deleted": True, "runs": ("a",)},
        {"follow": True, "dry_run": True},
        {"live": True, "everything": True},
        {"others_after_s": 60.0},
        {"health": ":8080"},
        {"follow": True, "live": True},
        {"follow": True, "live": True, "runs": ("a",)},
    ],
)
def test_options_that_do_not_go_together(options: dict[str, object]) -> None:
    with pytest.raises(click.UsageError):
        SyncOptions(**options).check()  # type: ignore[arg-type]


def test_defaults_are_those_of_the_command() -> None:
    """Without options, the runs that were recorded on this machine are selected."""
    context = sync.make_context("sync", [])
    assert SyncOptions(**context.params) == SyncOptions()
    assert SyncOptions().selection == Selection()


@pytest.mark.parametrize("of_store", STORE)
def test_the_selection(of_store: dict[str, object]) -> None:
    options = SyncOptions(**of_store, since=SINCE, deleted=True, full=True, dry_run=True)  # type: ignore[arg-type]
    since_ms = int(SINCE.timestamp() * 1000)
    assert options.selection == Selection(**of_store, since_ms=since_ms, deleted=True, full=True, dry_run=True)  # type: ignore[arg-type]
