"""Find the runs that `AUTOINSTRUMENT_EXPERIMENTS` leaves out: of other experiments, and without a link so far."""

from __future__ import annotations

from collections.abc import Sequence

from autoinstrument.experiment_patterns import VARIABLE, are_mirrored
from autoinstrument.mlflow_store.link_tags import is_linked
from autoinstrument.records import RunStarted

LEFT_OUT = "left out"
"""The word of the commands for such a run."""
REASON = f"its experiment is not in {VARIABLE}"


def is_left_out(run: RunStarted, patterns: Sequence[str]) -> bool:
    """Return True if a run, as the store describes it, gets no Task."""
    return not (are_mirrored(patterns, run.experiment_name) or (run.resumed and is_linked(run.tags)))
