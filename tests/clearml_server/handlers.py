"""Imports every module that registers endpoints."""

from . import (  # noqa: F401
    auth,
    event_reads,
    events,
    images,
    lifecycle,
    models,
    parameters,
    projects,
    queues,
    removal,
    tasks,
    workers,
)
