"""This process's agent: made when it is first needed, as its settings ask for."""

from __future__ import annotations

import os
import sys
import threading

from autoinstrument.agent import Agent
from autoinstrument.bootstrap.explain_log import note
from autoinstrument.experiment_patterns import EVERYTHING
from autoinstrument.guard import be_quiet, logger
from autoinstrument.settings import Settings, SettingsError, read_settings

_agent: Agent | None = None
_refused = False
_is_settled = False
_settling = threading.RLock()


def existing() -> Agent | None:
    """Return this process's agent, None if none is at work: it is switched off, or MLflow was not imported."""
    return _agent


def agent() -> Agent | None:
    """Return this process's agent, made at the first call; None where a setting is bad (logged once on stderr).

    Settings count as they are when the first run begins: many scripts read a file `.env` after their imports.
    """
    if not _is_settled:
        _settle()
    return _agent


def exiting() -> None:
    """Call `Agent.exiting`, if there is an agent; an at-exit handler."""
    if _agent is not None:
        _agent.exiting()


def finish() -> None:
    """Call `Agent.finish`, if there is an agent; an at-exit handler."""
    if _agent is not None:
        _agent.finish()


def _settle() -> None:
    """Make the agent that the settings ask for, unless a run has begun or a setting was bad."""
    global _agent, _refused, _is_settled
    with _settling:
        _is_settled = _refused or (_agent is not None and _agent.has_begun)
        if _is_settled:
            return
        former = _agent
        try:
            settings = read_settings()
            if former is not None and former.settings == settings:
                return
            _agent = _made(settings)
        except SettingsError as error:
            _agent, _refused = None, True
            note("bad setting", error)
            logger().warning("%s; the agent stays off", error)
        if former is not None:
            text = former.give_way()
            if _agent is not None and _agent.settings.console == former.settings.console:
                for item in text:
                    _agent.post(item)


def _forked() -> None:
    """Forget the lock, which a thread that does not exist here may hold."""
    global _settling
    _settling = threading.RLock()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forked)


def _made(settings: Settings) -> Agent:
    if settings.quiet:
        be_quiet()
    if settings.experiments == EVERYTHING:
        return Agent(settings)
    from autoinstrument.agent.selective_agent import SelectiveAgent

    return SelectiveAgent(settings)
