"""A run's experiment: the Task's project is named by it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from autoinstrument.clearml_api import storable
from autoinstrument.clearml_api.tasks import EXPERIMENT
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.kind import Difference, Kind, RunPart, StoredData, TaskOfRun
from autoinstrument.mirror.mapping.hyperparameters import PROPERTIES
from autoinstrument.mlflow_store.run_reader import RunReader
from autoinstrument.mlflow_store.runs import StoredRun


class Project(Kind):
    """A Task is made in its project, and is brought to another one where it is found (`mirror.task_project`).

    The Task's property tells by which name its project was named, so that a person may move the Task anywhere.
    """

    name = "project"
    task_fields = ("hyperparams",)
    is_in_search = True

    def part(self, context: RunContext) -> RunPart:
        """Return a part that sends nothing."""
        return RunPart()

    def read(self, run: RunReader) -> Iterable[StoredData]:
        """Return nothing: the run itself names its experiment."""
        return ()

    def glance(self, of: TaskOfRun) -> Iterator[Difference]:
        """Compare the experiment's name with the one that the Task knows."""
        held, name = of.section(PROPERTIES).get(EXPERIMENT, ""), storable.text(of.stored.run.experiment_name)
        if held != name:
            yield Difference(self.name, f"it is that of experiment {held!r}, which is called {name!r} now")

    def facts(self, run: StoredRun, data: Iterable[StoredData]) -> Iterable[tuple[str, str]]:
        """Return the experiment's name."""
        return [("experiment", run.run.experiment_name)]
