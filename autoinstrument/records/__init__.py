"""The records that all processes of the agent share: about a run, its process, and its Task.

Each record is a flat, immutable tuple of JSON values, so that it crosses the socket between the training process and
the worker as it is. Nothing here knows MLflow's or ClearML's classes.

Times are milliseconds since the epoch (`_ms`), as in MLflow and in ClearML's events.
"""

from autoinstrument.records.answers import (
    CodeLacking,
    Delivered,
    RunAborted,
    RunLinked,
    RunPending,
    RunsDelivered,
    RunsKilled,
    WorkerReady,
)
from autoinstrument.records.command import (
    ReportRequested,
    ServedProcess,
    ServedRun,
    StopRequested,
    WorkerReported,
    WorkerStopped,
)
from autoinstrument.records.json_form import Record, from_json, has_right_types, parse, to_json
from autoinstrument.records.process import (
    ConsoleAwaited,
    ConsoleDrained,
    ConsoleWritten,
    DeliveryAwaited,
    ProcessChanged,
    ProcessExiting,
    ProcessJoined,
    ProcessStarted,
)
from autoinstrument.records.run import (
    AbortLogged,
    ArtifactLogged,
    EndAnnounced,
    EventsDropped,
    InputsLogged,
    MetricsLogged,
    ModelMetricsLogged,
    ModelsLogged,
    ModelsRead,
    ParamsLogged,
    PromptsUsed,
    RunAnnounced,
    RunDeleted,
    RunEnded,
    RunRestored,
    RunStarted,
    RunTagged,
    TagDeleted,
    TagsSet,
    TaskFound,
    TracesChanged,
    TracesLogged,
)
from autoinstrument.records.types import (
    Argument,
    Assessment,
    CommandLine,
    Dataset,
    InputModel,
    Model,
    ModelPoint,
    Param,
    Point,
    Prompt,
    Trace,
    Version,
)

__all__ = [
    "AbortLogged", "Argument", "ArtifactLogged", "Assessment", "CodeLacking", "CommandLine", "ConsoleAwaited",
    "ConsoleDrained", "ConsoleWritten", "Dataset", "Delivered", "DeliveryAwaited", "EndAnnounced", "EventsDropped",
    "InputModel", "InputsLogged", "MetricsLogged", "Model", "ModelMetricsLogged", "ModelPoint", "ModelsLogged",
    "ModelsRead", "Param", "ParamsLogged", "Point", "ProcessChanged", "ProcessExiting", "ProcessJoined",
    "ProcessStarted", "Prompt", "PromptsUsed", "Record", "ReportRequested", "RunAborted", "RunAnnounced",
    "RunDeleted", "RunEnded", "RunLinked", "RunPending", "RunRestored", "RunStarted", "RunTagged", "RunsDelivered",
    "RunsKilled", "ServedProcess", "ServedRun", "StopRequested", "TagDeleted", "TagsSet", "TaskFound", "Trace",
    "TracesChanged", "TracesLogged", "Version", "WorkerReady", "WorkerReported", "WorkerStopped", "from_json",
    "has_right_types", "parse", "to_json",
]  # fmt: skip
