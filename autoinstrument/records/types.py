"""The pieces that records are made of; all are JSON values."""

# No `from __future__ import annotations`: a TypedDict would compile each annotation.
from typing import Any, TypedDict

Point = tuple[str, float, int, int]
"""A metric point: key, value, timestamp in ms, step."""

ModelPoint = tuple[str, float, int, int, str, str]
"""A point of a model's metric: as `Point`, then name and digest of the data set, "" where none was named."""

Param = tuple[str, str, str]
"""A parameter: key, value as MLflow stores it, name of the value's Python type or "" where it is not known."""


class Dataset(TypedDict):
    """A data set that a run has used; source, schema and profile are MLflow's own JSON texts."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str
    profile: str
    tags: dict[str, str]
    """Among them the context, `mlflow.data.context`."""


class Prompt(TypedDict):
    """A version of a prompt that a run has loaded or registered; its texts are MLflow's own."""

    name: str
    version: str
    template: str
    """The text, or a JSON list of chat messages; "" if the registry does not have the version any more,
    or if the run has too many."""
    is_chat: bool
    aliases: list[str]
    """Those that the version had when it was read."""
    description: str
    tags: dict[str, str]
    response_format: str
    model_config: str
    """These two as JSON, "" for none."""


class Version(TypedDict):
    """A version of a registered model."""

    name: str
    version: str
    stage: str
    aliases: list[str]
    tags: dict[str, str]
    description: str


class Model(TypedDict):
    """A model that a run has logged, or whose source the run is said to be."""

    uri: str
    """MLflow's own, as in `models:/m-…` and `runs:/…`: the same at each reading."""
    name: str
    location: str
    """URI of its folder for clients other than MLflow's."""
    revision: str
    """Changes when the model is logged again at the same URI; "" where MLflow has not made the folder."""
    flavors: list[str]
    """As its file `MLmodel` has them; empty where it has none."""
    tags: dict[str, str]
    status: str
    """MLflow's word, as READY, PENDING or FAILED; "" for a model of MLflow 2, which has none."""
    kind: str
    """The type that its author has given it, as in `agent`; "" for none."""
    source_run: str
    """Id of the run that made it, "" where MLflow does not know."""
    params: dict[str, str]
    points: list[ModelPoint]
    """All points of its metrics where it was read for `sync`; none live, where each point has a record."""
    versions: list[Version] | None
    """None where the registry was not asked: there is none, or the process has not used it."""


class InputModel(TypedDict):
    """A model that a run has read; the first four fields are those of `Model`."""

    uri: str
    name: str
    location: str
    flavors: list[str]
    source_run: str
    """Id of the run that has made it, "" if that is not known."""


class Assessment(TypedDict):
    """A statement of a scorer, a judge or a person about a trace."""

    name: str
    value: Any
    """A JSON value; None where there is none, as after an error."""
    rationale: str
    """Why; the error where the scorer failed."""
    is_expectation: bool
    """True for the expected response, which is not a score."""


class Trace(TypedDict):
    """A trace as a search returns it; long texts are cut."""

    trace_id: str
    time_ms: int
    """When it began."""
    latency_ms: int | None
    """None where it has not ended."""
    status: str
    """MLflow's word, as in OK, ERROR and IN_PROGRESS."""
    request: str
    response: str
    """MLflow's previews of what went in and came out, JSON that may be cut."""
    tokens: dict[str, float]
    """`input_tokens`, `output_tokens`, `total_tokens`; what is not known is left out."""
    cost_usd: float | None
    tags: dict[str, str]
    """Those that people and programs have set, without MLflow's own."""
    assessments: list[Assessment]
    """Those that hold, the oldest first."""


class Argument(TypedDict):
    """The value that a parser has read for one of its arguments, and how a command line gives it."""

    name: str
    value: str
    """As the Task shows it; None is the empty string, a secret is hidden."""
    type: str
    """Name of the Python type of the value."""
    default: str
    """In the form of `value`; "" where it is not known."""
    form: str
    """"value", "list" (several words at once), "repeated" (a list of occurrences), "flag", "count", or "command"."""
    options: dict[str, int]
    """Number of words that follow each spelling (`MANY`, `MAYBE`); a positional argument has the one spelling ""."""
    flags: dict[str, str]
    """The word that gives a value, by value, where not every value can be written; {} otherwise."""
    level: int
    """0 for the program's own arguments, 1 for those of its sub-command, and so on."""


class CommandLine(TypedDict):
    """The command line of a program whose parser was read, without secrets."""

    arguments: list[Argument]
    words: list[list[str]] | None
    """The words in their order, in groups; each group begins with the name of its argument, "" if that is not known.
    None where the arguments do not come from a command line, and one can be written from the values alone."""
