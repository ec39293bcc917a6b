"""Note the models that a run reads: those whose files MLflow fetches or finds, by `load_model` or otherwise.

All ways to load a model, of any flavour and from any address, call one function, and so does `download_artifacts` with
an address. It returns the place of the files on this machine, and a model's file `MLmodel` there describes it.
"""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from autoinstrument.agent import Agent
from autoinstrument.agent.process_agent import agent
from autoinstrument.guard import guard, is_own_call
from autoinstrument.integrations.mlflow_internals import FETCH
from autoinstrument.integrations.observing import current_run
from autoinstrument.integrations.wrapping import wrap
from autoinstrument.mlflow_store.input_models import DESCRIPTION, MOST_MODELS, SeenModel, as_seen, seen_model
from autoinstrument.mlflow_store.run_reader import read_state
from autoinstrument.records import EventsDropped, ModelsRead, Record
from autoinstrument.tracebacks import users_call

_MOST_BYTES = 2**16
"""Bytes that are read of a file `MLmodel`: what is needed of it comes before the signature, which may be long."""
_seen: dict[str, dict[SeenModel, None]] = {}
"""Models that runs of this process have read, by run."""
_before: deque[SeenModel] = deque(maxlen=100)
"""Models that were read while no run was open: the next run is the one that uses them."""


def instrument_fetching(module: ModuleType) -> None:
    """Wrap the function of `mlflow.tracking.artifact_utils` that fetches artifacts, where it is imported as well."""
    original = vars(module).get(FETCH)
    wrap(module, FETCH, _fetch)
    for other in list(sys.modules.values()):  # those that were imported before the agent was armed
        if getattr(other, "__dict__", {}).get(FETCH) is original and original is not None:
            setattr(other, FETCH, getattr(module, FETCH))


def _fetch(wrapped: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    with users_call:
        result = wrapped(*args, **kwargs)
    if not is_own_call():
        with guard("noting a model that was read"):
            the_agent = agent()
            if the_agent is not None:
                _note_files(the_agent, str(args[0] if args else kwargs["artifact_uri"]), str(result))
    return result


def _note_files(the_agent: Agent, address: str, place: str) -> None:
    try:
        with (Path(place) / DESCRIPTION).open("rb") as file:
            description = file.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError:  # no model, or a single file
        return
    seen, run_id = seen_model(address, description), current_run(the_agent)
    if not seen.is_known:
        return
    if run_id:
        _note(the_agent, run_id, seen)
    elif seen not in _before:
        _before.append(seen)


def run_began(the_agent: Agent, run_id: str) -> None:
    """Note the models that were read while no run was open as those of a run that begins now."""
    with contextlib.suppress(IndexError):  # another thread may take them
        while _before:
            _note(the_agent, run_id, _before.popleft())


def noted(the_agent: Agent, run_id: str) -> None:
    """Request a read of a run's models, because MLflow has noted one."""
    the_agent.post_soon(run_id, "input models", lambda: _read(the_agent, run_id))


def _note(the_agent: Agent, run_id: str, seen: SeenModel) -> None:
    of_run = _seen.setdefault(run_id, {})
    if seen not in of_run and len(of_run) < MOST_MODELS and the_agent.knows(run_id):
        of_run[seen] = None
        noted(the_agent, run_id)


def _read(the_agent: Agent, run_id: str) -> Record:
    uri, workspace = the_agent.tracking_uri_of(run_id), the_agent.workspace_of(run_id)
    seen = list(_seen.get(run_id, ()))
    with guard("reading a run's input models"):
        return read_state(uri, workspace, run_id, "input models", seen)
    the_agent.post(EventsDropped(run_id, 0))  # MLflow does not answer, and may hold other inputs
    return ModelsRead(run_id, as_seen(run_id, seen))
