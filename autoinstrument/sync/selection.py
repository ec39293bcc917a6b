"""The runs that `sync` must complete, and the outcome of each."""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

from autoinstrument.mlflow_store.known_experiments import KnownExperiments


class Selection(NamedTuple):
    """The runs to sync; without `runs`, `experiments` and `everything` those that were recorded on this machine.

    Attributes:
        runs: run ids.
        experiments: names of experiments.
        everything: take all experiments of the tracking server that `AUTOINSTRUMENT_EXPERIMENTS` names.
        since_ms: of experiments, take only runs that began then or later.
        ended_since_ms: of experiments, take only runs that ended then or later.
        deleted: of experiments, take also deleted runs without a Task; those with a Task are always taken.
        full: compare points, files and models even if no difference is in sight.
        dry_run: only report what would be done.
        left_alone: ids of runs that another part of this process is at work on.
        known: experiments of earlier rounds: all runs of one that has changed since then are taken.
    """

    runs: tuple[str, ...] = ()
    experiments: tuple[str, ...] = ()
    everything: bool = False
    since_ms: int = 0
    ended_since_ms: int = 0
    deleted: bool = False
    full: bool = False
    dry_run: bool = False
    left_alone: Container[str] = ()
    known: KnownExperiments | None = None

    @property
    def is_of_store(self) -> bool:
        """True if MLflow's store is searched, which also has runs that were not recorded here."""
        return bool(self.experiments or self.everything)


class Outcome(NamedTuple):
    """The outcome of one run.

    Attributes:
        run_id: "" if the problem is not one run's: the tracking server does not answer.
        result: "synced", "unchanged", "failed", "running" (left alone), "followed" (mirrored while it is running),
            "ended" (its machine is gone), "pending" (dry run) or "left out" (of another experiment than
            `AUTOINSTRUMENT_EXPERIMENTS` names).
        detail: the Task's address, or the reason.
        error: for "failed", the kind of the error, see `failures`; "" if the run was not tried after others' errors.
    """

    run_id: str
    run_name: str
    result: str
    detail: str
    error: str = ""
