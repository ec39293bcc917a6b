"""The registry: all kinds of data that a run has.

The live mirror, `sync`, `verify` and `run --check` go through this list and know no kind by name. To add a kind, write
a module here with a `Kind`, and add it to the list.
"""

from __future__ import annotations

from autoinstrument.mirror.kinds.archiving import Archiving
from autoinstrument.mirror.kinds.artifacts import Artifacts
from autoinstrument.mirror.kinds.console import Console
from autoinstrument.mirror.kinds.datasets import Datasets
from autoinstrument.mirror.kinds.environment import Environment
from autoinstrument.mirror.kinds.input_models import InputModels
from autoinstrument.mirror.kinds.kind import Kind
from autoinstrument.mirror.kinds.links import Links
from autoinstrument.mirror.kinds.machine import Machine
from autoinstrument.mirror.kinds.metrics import Metrics
from autoinstrument.mirror.kinds.models import Models
from autoinstrument.mirror.kinds.name_and_note import NameAndNote
from autoinstrument.mirror.kinds.parameters import Parameters
from autoinstrument.mirror.kinds.project import Project
from autoinstrument.mirror.kinds.prompts import Prompts
from autoinstrument.mirror.kinds.resource_monitor import ResourceMonitor
from autoinstrument.mirror.kinds.scheduler_job import SchedulerJob
from autoinstrument.mirror.kinds.status import Status
from autoinstrument.mirror.kinds.tags import Tags
from autoinstrument.mirror.kinds.task_tags import TaskTags
from autoinstrument.mirror.kinds.traces import Traces

KINDS: tuple[Kind, ...] = (
    Links(),
    Project(),
    NameAndNote(),
    Environment(),
    Machine(),
    SchedulerJob(),
    Parameters(),
    Tags(),
    TaskTags(),
    Metrics(),
    ResourceMonitor(),
    Console(),
    Artifacts(),
    Models(),
    InputModels(),
    Datasets(),
    Prompts(),
    Traces(),
    Status(),
    Archiving(),
)
"""All kinds, in the order in which a Task is brought up to its run."""
