"""Note the prompts that a run loads or registers, and have them read from the registry."""

from __future__ import annotations

import functools
from typing import Any

from autoinstrument.agent import Agent
from autoinstrument.integrations.observing import current_run, know
from autoinstrument.mlflow_store.prompts import IS_PROMPT, MOST_PROMPTS, RUNS, PromptVersion
from autoinstrument.mlflow_store.run_reader import read_state
from autoinstrument.records import Record

_used: dict[str, dict[PromptVersion, None]] = {}
"""Prompts that this process was seen to use, by run."""


def is_prompt(version: Any) -> bool:
    """Return True if a version of a registered model is one of a prompt."""
    return IS_PROMPT in (version.tags or {})


def registered(the_agent: Agent, client: Any, version: Any) -> None:
    """Note that a version of a prompt was made; MLflow does not note by which run."""
    run_id = current_run(the_agent)
    if run_id:
        _note(the_agent, client, run_id, version.name, version.version)


def tagged(the_agent: Agent, client: Any, call: dict[str, Any]) -> None:
    """Note the runs that have loaded a prompt, where MLflow lists them in a tag of the version (2.21 to 3.0)."""
    for run_id in str(call["value"]).split(",") if call["key"] == RUNS else ():
        if the_agent.is_open(run_id):
            _note(the_agent, client, run_id, call["name"], call["version"])


def linked(the_agent: Agent, client: Any, call: dict[str, Any]) -> None:
    """Note that MLflow has linked a prompt to a run, in a tag that no call for tags sets (3.1 and later)."""
    _note(the_agent, client, call["run_id"], call["name"], call["version"])


def _note(the_agent: Agent, client: Any, run_id: str, name: str, version: Any) -> None:
    used = _used.setdefault(run_id, {})
    if len(used) < MOST_PROMPTS:
        used[name, str(version)] = None
    know(the_agent, client, run_id)
    read = functools.partial(_read, client.tracking_uri, the_agent.workspace_of(run_id), run_id)
    the_agent.post_soon(run_id, "prompts", read)


def _read(tracking_uri: str, workspace: str, run_id: str) -> Record:
    """Return all prompts of a run that are known by now: one read serves several of them."""
    return read_state(tracking_uri, workspace, run_id, "prompts", list(_used[run_id]))
