"""The experiments that earlier rounds of `sync --follow` have seen, so that a round sees what has become of them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

_Key = tuple[str, str]
"""Workspace and id: both stay when an experiment is renamed."""


class KnownExperiments:
    """The experiments that are remembered from round to round.

    Attributes:
        have_changed: the present round has found an experiment that the round before did not know, or knew otherwise.
    """

    def __init__(self) -> None:
        self.have_changed = False
        self._states: dict[_Key, tuple[str, str]] = {}
        self._asked_for: dict[_Key, str] = {}

    def begin_round(self) -> None:
        """Note that a round begins."""
        self.have_changed = False

    def note(self, workspace: str, experiment: Any) -> bool:
        """Note an experiment; return True if it is new, or was renamed, deleted or restored since the round before."""
        key, state = (workspace, experiment.experiment_id), (experiment.name, experiment.lifecycle_stage)
        is_news = self._states.get(key) != state
        self._states[key] = state
        self.have_changed = self.have_changed or is_news
        return is_news

    def asked_for(self, workspace: str, experiment: Any, names: Collection[str]) -> str:
        """Return which of some names an experiment has, or had when it was first asked for; "" for none of them."""
        key = workspace, experiment.experiment_id
        if experiment.name in names:
            return self._asked_for.setdefault(key, experiment.name)
        return self._asked_for.get(key, "")
