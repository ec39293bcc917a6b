"""The options of `autoinstrument sync`: which go together, and which runs they select."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import click

from autoinstrument.sync.selection import Selection


@dataclass(frozen=True)
class SyncOptions:
    """The options as they are given; `sync --help` says what each means.

    Without `--run`, `--experiment` and `--all`, the runs that were recorded on this machine are selected.
    """

    runs: tuple[str, ...] = ()
    experiments: tuple[str, ...] = ()
    everything: bool = False
    since: datetime | None = None
    deleted: bool = False
    full: bool = False
    jobs: int = 1
    dask: str = ""
    follow: bool = False
    live: bool = False
    others_after_s: float | None = None
    health: str = ""
    dry_run: bool = False
    as_json: bool = False

    def check(self) -> None:
        """Check that the options go together.

        Raises:
            click.UsageError: they do not.
        """
        searches = self.selection.is_of_store
        if self.everything and (self.experiments or self.runs):
            raise click.UsageError("`--all` selects all runs: it cannot be combined with `--experiment` or `--run`")
        if (self.since or self.deleted) and not searches:
            raise click.UsageError("`--since` and `--deleted` need `--all` or `--experiment`")
        if self.follow and self.dry_run:
            raise click.UsageError("`--follow` and `--dry-run` cannot be combined")
        of_follow = {"--live": self.live, "--dead-after": self.others_after_s, "--health": self.health}
        for option, value in of_follow.items():
            if value and not self.follow:
                raise click.UsageError(f"`{option}` can be used with `--follow` only")
        if self.live and not searches:
            raise click.UsageError("`--live` needs `--all` or `--experiment`")

    @property
    def selection(self) -> Selection:
        """The runs that the options select."""
        return Selection(
            runs=self.runs, experiments=self.experiments, everything=self.everything,
            since_ms=int(self.since.timestamp() * 1000) if self.since else 0,
            deleted=self.deleted, full=self.full, dry_run=self.dry_run,
        )  # fmt: skip
