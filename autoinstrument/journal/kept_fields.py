"""The attributes of a run's journal that are kept on disk as they are, and their types."""

# No `from __future__ import annotations`: a TypedDict would compile each annotation.
from typing import Any, TypedDict

from autoinstrument.records import InputModel, Prompt


class _FirstFields(TypedDict):
    script: dict[str, str]
    requirements: str
    freeze: str
    task_id: str
    task_url: str
    adopted: bool
    console_sent: int
    end: dict[str, str]
    worker_pid: int


class KeptFields(_FirstFields, total=False):
    """Attributes that are kept as they are; journals of earlier releases lack these."""

    worker_started_ms: int
    machine: str
    reason: str
    guessed: bool
    settings: str
    delivered: bool
    killed: bool
    runtime: dict[str, Any]
    variables: dict[str, str]
    prompts: list[Prompt]
    input_models: list[InputModel]
    conda: str
    steps: list[str]


FIELDS = tuple(KeptFields.__annotations__)
"""Their names."""
