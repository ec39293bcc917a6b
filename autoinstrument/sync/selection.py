"""The runs that `sync` must complete, and the outcome of each."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import NamedTuple

from autoinstrument.mlflow_store.known_experiments import KnownExperiments
from autoinstrument.mlflow_store.left_out import is_left_out
from autoinstrument.mlflow_store.link_tags import TASK_ID
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import RunStarted


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

    @property
    def asks_store(self) -> bool:
        """True if MLflow's store is asked for runs, by their ids at least."""
        return bool(self.runs) or self.is_of_store

    @property
    def has_all_recorded(self) -> bool:
        """True if every run that was recorded on this machine is selected."""
        return not (self.runs or self.experiments)

    def has_recorded(self, run: RunStarted) -> bool:
        """Return True if a run that was recorded on this machine is selected.

        Recorded runs are few, and wait: `everything` and `AUTOINSTRUMENT_EXPERIMENTS` leave none out. A run whose
        experiment is not known yet may be of any.
        """
        if self.has_all_recorded or run.run_id in self.runs:
            return True
        if not run.is_described:
            return bool(self.experiments)
        return run.experiment_name in self.experiments and run.start_time_ms >= self.since_ms

    def has_stored(self, stored: StoredRun) -> bool:
        """Return True if a run that the search for these experiments and times has found is selected."""
        is_wanted = self.deleted or not stored.deleted or TASK_ID in stored.run.tags
        return is_wanted and stored.run.run_id not in self.left_alone

    def has_running(self, stored: StoredRun, patterns: Sequence[str]) -> bool:
        """Return True if a running run of these experiments is selected; for `patterns` see `leaves_out`."""
        return stored.run.start_time_ms >= self.since_ms and not self.leaves_out(stored, patterns)

    def leaves_out(self, stored: StoredRun, patterns: Sequence[str]) -> bool:
        """Return True if `AUTOINSTRUMENT_EXPERIMENTS` (`patterns`) leaves a run out that nobody has named."""
        return self.everything and is_left_out(stored.run, patterns)


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
