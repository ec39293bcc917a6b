"""Note the names of experiments that MLflow's calls read, make or change.

A new name counts for the next run at once. The other calls are watched only where names decide what is mirrored.
"""

from __future__ import annotations

from typing import Any

from autoinstrument.agent import Agent
from autoinstrument.agent.process_agent import agent
from autoinstrument.agent.selective_agent import SelectiveAgent
from autoinstrument.integrations.observing import watched
from autoinstrument.mlflow_store.describe import forget_experiment


def methods() -> dict[str, Any]:
    """Return wrappers of methods of `TrackingServiceClient`, by name."""
    return {**_ALWAYS, **(_IF_SELECTIVE if isinstance(agent(), SelectiveAgent) else {})}


def _read(the_agent: Agent, client: Any, _: dict[str, Any], experiment: Any) -> None:
    if experiment is not None:
        _note(the_agent, client, experiment.experiment_id, experiment.name)


def _made(the_agent: Agent, client: Any, call: dict[str, Any], experiment_id: Any) -> None:
    _note(the_agent, client, experiment_id, call["name"])


def _renamed(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    forget_experiment(client.tracking_uri, str(call["experiment_id"]))
    _note(the_agent, client, call["experiment_id"], call["new_name"])


def _note(the_agent: Agent, client: Any, experiment_id: Any, name: Any) -> None:
    if isinstance(the_agent, SelectiveAgent):
        the_agent.note_experiment(client.tracking_uri, str(experiment_id), str(name))


_ALWAYS: dict[str, Any] = {
    "rename_experiment": watched(_renamed, "experiment_id", "new_name"),
}
_IF_SELECTIVE: dict[str, Any] = {
    "get_experiment": watched(_read, "experiment_id"),
    "get_experiment_by_name": watched(_read, "name"),
    "create_experiment": watched(_made, "name"),
}
