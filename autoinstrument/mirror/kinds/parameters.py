"""A run's parameters: the hyperparameter section `MLflow`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.kind import Difference, Kind, RunPart, StoredData, TaskOfRun, differing
from autoinstrument.mirror.mapping.hyperparameters import by_name, hyperparameter
from autoinstrument.mlflow_store.run_reader import RunReader
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import Param, ParamsLogged, Record
from autoinstrument.scrubber import hide_named
from autoinstrument.transport.budget import weight

SECTION = "MLflow"
_DESCRIPTION = "logged by the run; an edit in a clone has no effect"
"""Text beside a parameter of this section on ClearML's pages: those of `Args` look the same, but have an effect."""
_TYPES = {"int": "int", "float": "float", "bool": "bool", "str": "str", "NoneType": ""}


class Parameters(Kind):
    """Parameters have one value each, which MLflow never changes."""

    name = "parameter"
    task_fields = ("hyperparams",)
    is_in_search = True

    def part(self, context: RunContext) -> RunPart:
        """See `Kind.part`."""
        return _ParametersPart(context)

    def read(self, run: RunReader) -> Iterable[StoredData]:
        """Return the parameters in one record, nothing if there are none; MLflow does not keep their types."""
        params = run.stored.params
        return [ParamsLogged(run.run_id, [(key, value, "") for key, value in params.items()])] if params else []

    def glance(self, of: TaskOfRun) -> Iterable[Difference]:
        """Compare all values."""
        wanted = by_name(_item((key, value, "")) for key, value in of.stored.params.items())
        return differing(self.name, wanted, of.section(SECTION), exact=False)

    def facts(self, run: StoredRun, data: Iterable[StoredData]) -> Iterator[tuple[str, str]]:
        """Yield each parameter."""
        for record in data:
            if isinstance(record, ParamsLogged):
                yield from ((f"parameter {key}", value) for key, value, _ in record.params)


class _ParametersPart(RunPart):
    def __init__(self, context: RunContext) -> None:
        self._queue = context.hyperparameters
        self._types: dict[str, str] = {}
        self._weight = 0

    def take(self, record: Record) -> None:
        if isinstance(record, ParamsLogged):
            self._weight += weight(record)
            self._queue.put(_item(self._typed(param)) for param in record.params if self._fits(param))

    def send(self, task: object) -> None:
        self._weight = 0  # the queue has been sent

    @property
    def weight(self) -> int:
        return self._weight

    def _fits(self, param: Param) -> bool:
        return self._queue.has_room(SECTION, param[0], param[1])

    def _typed(self, param: Param) -> Param:
        """Return the parameter with its type, which is missing if it was read back from MLflow."""
        key, value, kind = param
        self._types[key] = kind or self._types.get(key, "")
        return key, value, self._types[key]


def _item(param: Param) -> dict[str, str]:
    key, value, kind = param
    return hyperparameter(SECTION, key, hide_named(key, value), _TYPES.get(kind, kind), _DESCRIPTION)
