"""A run's traces: their number as a user property, and a link to their page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from autoinstrument.clearml_api.tasks import Task, Tasks
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.kind import Difference, Kind, RunPart, StoredData, TaskOfRun
from autoinstrument.mirror.kinds.snapshot import SnapshotPart
from autoinstrument.mirror.mapping.hyperparameters import PROPERTIES, hyperparameter
from autoinstrument.mirror.mapping.links import page
from autoinstrument.mlflow_store.run_reader import RunReader
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import TracesLogged

_PROPERTY = "mlflow_traces"


class Traces(Kind):
    """Each record has the number of all traces that are linked to the run."""

    name = "traces"

    def part(self, context: RunContext) -> RunPart:
        """See `Kind.part`."""

        def write(task: Task, logged: TracesLogged) -> None:
            run, number = context.run, _number(logged)
            context.tasks.set_hyperparameters(task, [hyperparameter(PROPERTIES, _PROPERTY, number, "str")])
            if run.run_url:
                link = page("MLflow traces", f"{run.run_url}/traces", run, [["traces", number]])
                context.tasks.add_artifacts(task, [link])

        return SnapshotPart(TracesLogged, write, context.rejections)

    def read(self, run: RunReader) -> Iterable[StoredData]:
        """Return one record."""
        return [run.state("traces")]

    def glance(self, of: TaskOfRun) -> Iterable[Difference]:
        """Return nothing: a search does not count traces."""
        return ()

    def compare(self, of: TaskOfRun, data: Iterable[StoredData], tasks: Tasks) -> Iterator[Difference]:
        """Compare the number; a run without traces has none."""
        held = of.section(PROPERTIES).get(_PROPERTY, "none")
        for logged in data:
            if isinstance(logged, TracesLogged) and logged.traces and held != _number(logged):
                yield Difference(self.name, f"{held} instead of {_number(logged)}")

    def facts(self, run: StoredRun, data: Iterable[StoredData]) -> Iterator[tuple[str, str]]:
        """Yield the number."""
        yield from (("traces", str(logged.traces)) for logged in data if isinstance(logged, TracesLogged))


def _number(logged: TracesLogged) -> str:
    return f"{logged.traces}{'+' if logged.more else ''}"
