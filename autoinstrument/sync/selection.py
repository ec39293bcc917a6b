"""Which runs `sync` is to complete, and how."""

from __future__ import annotations

from typing import NamedTuple


class Selection(NamedTuple):
    """Which runs, and how; without runs, experiments and `everything`: those that were recorded on this machine.

    Attributes:
        runs: run ids.
        experiments: names of experiments.
        everything: all experiments of the tracking server.
        since_ms: of experiments, runs that began then or later.
        ended_since_ms: of experiments, runs that ended then or later.
        deleted: of experiments, also deleted runs that have no Task. Those that have one count always.
        full: compare points, files and models also where a Task says at first sight what the run says.
        dry_run: say what would be done, and do nothing.
    """

    runs: tuple[str, ...] = ()
    experiments: tuple[str, ...] = ()
    everything: bool = False
    since_ms: int = 0
    ended_since_ms: int = 0
    deleted: bool = False
    full: bool = False
    dry_run: bool = False

    @property
    def is_of_store(self) -> bool:
        """True where MLflow's store is searched, which holds also what was not recorded here."""
        return bool(self.experiments or self.everything)


class Outcome(NamedTuple):
    """What became of one run.

    Attributes:
        run_id: "" where the problem is not one run's: the tracking server does not answer.
        result: "synced", "unchanged", "failed", "running" (left alone) or "pending" (dry run).
        detail: the Task's address, or the reason.
    """

    run_id: str
    run_name: str
    result: str
    detail: str
