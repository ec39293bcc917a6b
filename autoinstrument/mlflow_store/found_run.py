"""A run that was read together with others, so that the store need not be asked for the same again at once."""

from __future__ import annotations

import time
from typing import Any

from autoinstrument.named_tuple import NamedTuple

LOGGED_MODELS, VERSIONS, TRACES = "logged_models", "versions", "traces"
"""Data of a run that searches of their own find."""
_FRESH_S = 10.0


class FoundRun(NamedTuple):
    """What `runs_together` has read of a run.

    Attributes:
        asked_at_s: when the store was asked for it, in seconds since the epoch.
        run: MLflow's run (`mlflow.entities.Run`), None if it was not read.
        lacks: data of which the store was asked after that, and had none: `LOGGED_MODELS`, `VERSIONS`, `TRACES`.
    """

    asked_at_s: float
    run: Any
    lacks: frozenset[str]

    @property
    def is_fresh(self) -> bool:
        """True for some seconds; after that, a process may have resumed the run."""
        return 0 <= time.time() - self.asked_at_s < _FRESH_S
