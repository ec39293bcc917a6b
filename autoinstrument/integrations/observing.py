"""Wrap methods of MLflow's clients so that the agent is called after each call that succeeded."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from autoinstrument.agent import Agent
from autoinstrument.agent.process_agent import agent
from autoinstrument.guard import guard, is_own_call
from autoinstrument.integrations.wrapping import Around
from autoinstrument.mlflow_store import describe
from autoinstrument.mlflow_store.workspaces import active
from autoinstrument.records import EventsDropped
from autoinstrument.tracebacks import users_call

Observe = Callable[[Agent, Any, dict[str, Any], Any], None]
"""(agent, client, arguments by name, result) -> None."""


def watched(observe: Observe, *names: str, refused: Observe | None = None) -> Around:
    """Return a wrapper that calls `observe` after the call succeeded.

    Args:
        observe: hands records to the agent.
        names: the names of the method's positional arguments.
        refused: called with the exception as result if the call raises one, for a call that may have stored a part of
            its data by then.
    """

    def around(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with users_call:
            try:
                result = wrapped(*args, **kwargs)
            except BaseException as error:
                if refused is not None and not is_own_call():
                    with guard(f"mirroring {wrapped.__name__}"):
                        the_agent = agent()
                        if the_agent is not None:
                            refused(the_agent, client, {**dict(zip(names, args, strict=False)), **kwargs}, error)
                raise
        if not is_own_call():
            with guard(f"mirroring {wrapped.__name__}"):
                the_agent = agent()
                if the_agent is not None:
                    observe(the_agent, client, {**dict(zip(names, args, strict=False)), **kwargs}, result)
        return result

    return around


def complete_later(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    """Complete a run from the store when it ends; an unknown run may not exist, and is left alone."""
    if the_agent.knows(call["run_id"]):
        the_agent.post(EventsDropped(call["run_id"], 0))


def know(the_agent: Agent, client: Any, run_id: str, *, linked: bool = False, workspace: str | None = None) -> None:
    """Introduce a run that this process writes to without having started it.

    Runs that have ended, and with `linked` all runs, are introduced only if they have a Task. Their workspace
    is the calling thread's, unless it is given.
    """
    if not the_agent.knows(run_id):
        uri, workspace = client.tracking_uri, active() if workspace is None else workspace
        make = describe.seen(uri, workspace, run_id, linked=linked)
        the_agent.run_started(run_id, make, tracking_uri=uri, workspace=workspace, owned=False)


def current_run(the_agent: Agent) -> str:
    """Return the id of the run that a call on this thread belongs to, "" for none.

    That is the thread's active run, else the latest run that this process has begun and not ended: MLflow links prompts
    by the same rule (3.1 to 3.17).
    """
    run = sys.modules["mlflow"].active_run()
    return run.info.run_id if run is not None else the_agent.latest_open_run()
