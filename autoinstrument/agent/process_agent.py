"""This process's agent: made when it is first needed, as its settings ask for."""

from __future__ import annotations

from autoinstrument.agent import Agent
from autoinstrument.bootstrap.explain_log import note
from autoinstrument.experiment_patterns import EVERYTHING
from autoinstrument.guard import logger
from autoinstrument.settings import SettingsError, read_settings

_agent: Agent | None = None
_refused = False


def existing() -> Agent | None:
    """Return this process's agent, None if none is at work: it is switched off, or MLflow was not imported."""
    return _agent


def agent() -> Agent | None:
    """Return this process's agent, made at the first call; None where a setting is bad (logged once on stderr)."""
    global _agent, _refused
    if _agent is None and not _refused:
        try:
            settings = read_settings()
        except SettingsError as error:
            _refused = True
            note("bad setting", error)
            logger().warning("%s; the agent stays off", error)
        else:
            if settings.experiments == EVERYTHING:
                _agent = Agent(settings)
            else:
                from autoinstrument.agent.selective_agent import SelectiveAgent

                _agent = SelectiveAgent(settings)
    return _agent
