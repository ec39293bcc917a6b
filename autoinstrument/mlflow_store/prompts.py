"""Read the prompts that a run has used, from the run's tags and the prompt registry.

A prompt is a registered model of its own kind, and its versions keep their text in tags. A run that loads one is noted
in the run's tag `mlflow.linkedPrompts` (mlflow 3.1 to 3.17), or in a tag of the version (2.21 to 3.0). MLflow does not
note which run has registered a prompt.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from autoinstrument.mlflow_store.store_access import store_access
from autoinstrument.mlflow_store.store_errors import StoreNotThereError, if_supported
from autoinstrument.mlflow_store.stores import StoreClient
from autoinstrument.records import Prompt, PromptsUsed, parse

LINKED = "mlflow.linkedPrompts"
"""Tag of a run: a JSON list of names and versions."""
RUNS = "mlflow.prompt.run_ids"
"""Tag of a version: ids of the runs that have loaded it, separated by commas."""
IS_PROMPT = "mlflow.prompt.is_prompt"
MOST_PROMPTS = 1000
"""Prompts of one run that are read."""
_ALL = 2_000_000
"""Characters of all texts that are kept; the registry takes 100,000 of one (mlflow 3.17)."""
_TEXT, _KIND, _CHAT = "mlflow.prompt.text", "_mlflow_prompt_type", "chat"
_RESPONSE_FORMAT, _MODEL_CONFIG = "_mlflow_prompt_response_format", "_mlflow_prompt_model_config"

PromptVersion = tuple[str, str]
"""Name and version of a prompt."""


def linked_prompts(tags: dict[str, str]) -> list[PromptVersion]:
    """Return the prompts that a run's tags name, the first `MOST_PROMPTS`; none if the tag is not MLflow's own."""
    try:
        named = [(str(item["name"]), str(item["version"])) for item in parse(tags.get(LINKED) or "[]")]
    except (KeyError, TypeError, ValueError):
        return []
    return list(dict.fromkeys(named))[:MOST_PROMPTS]


def read_prompts(client: StoreClient, run: Any, used: Collection[PromptVersion] = ()) -> PromptsUsed:
    """Return the prompts of a run (`mlflow.entities.Run`); the registry is asked for each, and only if there are any.

    Args:
        client: the clients of the run's store.
        run: the run.
        used: prompts that it was seen to use, beside those that its tags name.

    Raises:
        mlflow.exceptions.MlflowException: the registry does not answer.
    """
    wanted = list(dict.fromkeys([*linked_prompts(run.data.tags), *used]))[:MOST_PROMPTS]
    prompts, room = list[Prompt](), _ALL
    for name, version in wanted:
        prompt = _prompt(client, name, version)
        size = len(prompt["template"]) + len(prompt["response_format"])
        prompts.append(prompt if size <= room else Prompt(**{**prompt, "template": "", "response_format": ""}))
        room -= min(size, room)
    return PromptsUsed(run.info.run_id, prompts)


def _prompt(client: StoreClient, name: str, version: str) -> Prompt:
    found: Any = None
    try:
        with store_access(client.tracking_uri, client.workspace):
            found = next(iter(if_supported(lambda: [client.registry().get_model_version(name, version)])), None)
    except StoreNotThereError:
        pass
    tags = {key: str(value) for key, value in sorted(found.tags.items())} if found else {}
    return Prompt(
        name=name,
        version=version,
        template=tags.get(_TEXT, ""),
        is_chat=tags.get(_KIND) == _CHAT,
        aliases=sorted(found.aliases or []) if found else [],
        description=(found.description or "") if found else "",
        tags={key: value for key, value in tags.items() if not key.startswith(("mlflow.", "_mlflow"))},
        response_format=tags.get(_RESPONSE_FORMAT, ""),
        model_config=tags.get(_MODEL_CONFIG, ""),
    )
