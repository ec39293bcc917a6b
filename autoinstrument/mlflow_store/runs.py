"""Search the runs of a tracking store."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator
from typing import Any

from autoinstrument.guard import guard, own_calls
from autoinstrument.mlflow_store.describe import describe
from autoinstrument.mlflow_store.folder_store import reads_as_a_whole
from autoinstrument.mlflow_store.history_internals import latest_points
from autoinstrument.mlflow_store.known_experiments import KnownExperiments
from autoinstrument.mlflow_store.link_tags import LINK_TAGS, STATE, SYNCED
from autoinstrument.mlflow_store.store_errors import NotFoundError, says_gone, shown
from autoinstrument.mlflow_store.stores import tracking_client
from autoinstrument.mlflow_store.workspaces import each_in_workspace, in_workspace, searched
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.records import Point, RunStarted

ENDED = ("FINISHED", "FAILED", "KILLED")
_PAGE, _RUNS = 1000, 250
"""Items of a page, and runs: MLflow's database store takes 30 kB for one with 20 parameters while it reads a page, and
the process keeps the memory that its largest page took."""
_EXPERIMENTS = 500
"""Experiments that one request searches."""


def default_tracking_uri() -> str:
    """Return the address of the store that MLflow itself would use in this process."""
    import mlflow

    return str(mlflow.get_tracking_uri())


def left_open(run_id: str) -> str:
    """Return a line for a person about a run that nothing will end, because its process is gone."""
    call = f"import mlflow; mlflow.MlflowClient().set_terminated('{run_id}', 'KILLED')"
    return f'MLflow says RUNNING, but its process is gone: `python -c "{call}"` ends it'


class StoredRun(NamedTuple):
    """A run as a search returns it.

    Attributes:
        status: MLflow's status, as "RUNNING".
        deleted: it is in MLflow's trash.
        metrics: the latest value of each metric.
        latest: the latest point of each metric, by step, then by time.
        named: names of the data sets and models that the run names.
    """

    run: RunStarted
    status: str
    deleted: bool
    params: dict[str, str]
    metrics: dict[str, float]
    latest: tuple[Point, ...] = ()
    named: tuple[str, ...] = ()

    @property
    def sign(self) -> int:
        """A number that changes, in this process, with everything that a search returns of the run but its metrics."""
        tags = {key: value for key, value in self.run.tags.items() if key not in LINK_TAGS}
        names = self.run.run_name, self.run.experiment_name
        return hash(repr((names, sorted(self.params.items()), sorted(tags.items()), self.named)))

    @property
    def has_ended(self) -> bool:
        """False while a process may still log to it."""
        return self.status in ENDED

    @property
    def left_open(self) -> str:
        """Why nothing will end a run that MLflow calls RUNNING, with the remedy; "" for any other run.

        Its Task is complete, so that the agent saw its process end: by SIGPIPE for example, which runs no exit handler.
        """
        is_open = not self.has_ended and self.run.tags.get(STATE) == SYNCED
        return left_open(self.run.run_id) if is_open else ""


def find_runs(
    tracking_uri: str = "",
    *,
    experiments: Collection[str] = (),
    since_ms: int = 0,
    ended_since_ms: int = 0,
    deleted: bool = False,
    known: KnownExperiments | None = None,
) -> Iterator[StoredRun]:
    """Yield the runs of a tracking store, experiment by experiment, the oldest first, with one page of them in memory.

    Args:
        tracking_uri: address of the store, "" for the one that MLflow itself would use.
        experiments: names of experiments, empty for all.
        since_ms: leave out runs that began earlier, in ms since the epoch.
        ended_since_ms: leave out runs that ended earlier or have not ended, in ms since the epoch; not of experiments
            that have changed since `known` noted them.
        deleted: include deleted runs and experiments.
        known: experiments of earlier rounds, which are found also under the names that they had then.

    Raises:
        StoreNotThereError: there is no store at this address; it is not created.
        NotFoundError: there is no experiment of one of the names.
        mlflow.exceptions.MlflowException: the store does not answer.
    """
    from mlflow.entities import ViewType

    uri = tracking_uri or default_tracking_uri()
    view = ViewType.ALL if deleted else ViewType.ACTIVE_ONLY
    with own_calls():
        client = tracking_client(uri)
        for workspace, experiment in _experiments(client, experiments, known, view_type=view):
            has_changed = known is not None and known.note(workspace, experiment)
            bounds = {"start_time": since_ms, "end_time": 0 if has_changed else ended_since_ms}
            found = all_runs(
                client,
                [experiment.experiment_id],
                filter_string=" AND ".join(f"attributes.{name} >= {bound}" for name, bound in bounds.items() if bound),
                run_view_type=view,
                order_by=["attributes.start_time ASC"],
            )
            for run in each_in_workspace(workspace, found):
                yield from _understood(run, uri, workspace, experiment.name)


def one_experiment(tracking_uri: str = "") -> None:
    """Read one experiment, if there is any; this needs the same credentials and permissions as reading runs.

    Raises:
        StoreNotThereError: there is no store at this address; it is not created.
        mlflow.exceptions.MlflowException: the store refuses, or does not answer.
    """
    with own_calls():
        tracking_client(tracking_uri or default_tracking_uri()).search_experiments(max_results=1)


def left_open_runs(tracking_uri: str = "", *, limit: int) -> list[StoredRun]:
    """Return runs that were `left_open` in the first thousand experiments, `limit` of them at most.

    Raises:
        StoreNotThereError: there is no store at this address; it is not created.
        mlflow.exceptions.MlflowException: the store does not answer.
    """
    uri = tracking_uri or default_tracking_uri()
    with own_calls():
        client, found = tracking_client(uri), list[StoredRun]()
        wanted = f"attributes.status = 'RUNNING' AND tags.`{STATE}` = 'synced'"
        for workspace in searched(client):
            with in_workspace(workspace):
                names = {experiment.experiment_id: experiment.name for experiment in client.search_experiments()}
                runs = client.search_runs(list(names), filter_string=wanted, max_results=limit) if names else []
            found += [stored_run(run, uri, workspace, names[run.info.experiment_id]) for run in runs]
        return found[:limit]


def running_runs(
    tracking_uri: str = "", *, experiments: Collection[str] = (), linked_only: bool = True
) -> Iterator[StoredRun]:
    """Yield the runs that MLflow calls RUNNING, with few requests, however many have ended.

    Args:
        tracking_uri: address of the store, "" for the one that MLflow itself would use.
        experiments: names of experiments, empty for all.
        linked_only: only those whose tag says that an agent mirrors them, or has mirrored them.

    Raises:
        StoreNotThereError: there is no store at this address; it is not created.
        NotFoundError: there is no experiment of one of the names.
        mlflow.exceptions.MlflowException: the store does not answer.
    """
    uri = tracking_uri or default_tracking_uri()
    wanted = "attributes.status = 'RUNNING'" + (f" AND tags.`{STATE}` LIKE '%'" if linked_only else "")
    with own_calls():
        client = tracking_client(uri)
        names: dict[str, dict[str, str]] = {}
        for workspace, experiment in _experiments(client, experiments):
            names.setdefault(workspace, {})[experiment.experiment_id] = experiment.name
        for workspace, known in names.items():
            for first in range(0, len(known), _EXPERIMENTS):
                some = list(known)[first : first + _EXPERIMENTS]
                for run in each_in_workspace(workspace, all_runs(client, some, filter_string=wanted)):
                    yield from _understood(run, uri, workspace, known[run.info.experiment_id])


def latest_runs(tracking_uri: str = "", *, experiments: Collection[str] = (), limit: int = 20) -> list[StoredRun]:
    """Return the runs that began last, the newest first; arguments and errors are those of `find_runs`."""
    uri = tracking_uri or default_tracking_uri()
    with own_calls():
        client, found = tracking_client(uri), list[StoredRun]()
        names: dict[str, dict[str, str]] = {}
        for workspace, experiment in _experiments(client, experiments):
            names.setdefault(workspace, {})[experiment.experiment_id] = experiment.name
        for workspace, known in names.items():
            with in_workspace(workspace):
                runs = client.search_runs(list(known), order_by=["attributes.start_time DESC"], max_results=limit)
            found += [stored_run(run, uri, workspace, known[run.info.experiment_id]) for run in runs]
        return sorted(found, key=lambda stored: stored.run.start_time_ms, reverse=True)[:limit]


def find_run(run_id: str, tracking_uri: str = "", workspace: str = "") -> StoredRun:
    """Return one run of a tracking store, in whichever workspace it is.

    Args:
        run_id: MLflow's id.
        tracking_uri: address of the store, "" for the one that MLflow itself would use.
        workspace: the workspace to search, "" for all that `searched` returns.

    Raises:
        StoreNotThereError: there is no store at this address; it is not created.
        NotFoundError: there is no such run.
        mlflow.exceptions.MlflowException: the store does not answer.
    """
    from mlflow.exceptions import MlflowException

    uri = tracking_uri or default_tracking_uri()
    with own_calls():
        client = tracking_client(uri)
        for place in [workspace] if workspace else searched(client):
            with in_workspace(place):
                try:
                    run = client.get_run(run_id)
                except MlflowException as error:
                    if says_gone(error, run_id):
                        continue
                    raise
                return stored_run(run, uri, place, client.get_experiment(run.info.experiment_id).name)
    raise NotFoundError(f"there is no run {run_id!r} at {shown(uri)}")


def _experiments(
    client: Any, names: Collection[str], known: KnownExperiments | None = None, **options: Any
) -> Iterator[tuple[str, Any]]:
    """Yield the experiments of some names, or all, and the workspace of each; raise an error if one does not exist."""
    found, known = set[str](), known or KnownExperiments()
    for workspace in searched(client):
        for experiment in each_in_workspace(
            workspace, _all_pages(functools.partial(client.search_experiments, **options), _PAGE)
        ):
            name = known.asked_for(workspace, experiment, names)
            if name or not names:
                found.add(name)
                yield workspace, experiment
    if missing := sorted(set(names) - found):
        raise NotFoundError(f"no experiment is called {missing[0]!r}")


def all_runs(client: Any, experiment_ids: Collection[str], **options: Any) -> Iterator[Any]:
    """Yield the runs that a search finds, as MLflow's `Run`, with one page of them in memory."""
    size = _PAGE if reads_as_a_whole(client.store) else _RUNS
    return _all_pages(functools.partial(client.search_runs, list(experiment_ids), **options), size)


def _all_pages(search: Callable[..., Any], size: int) -> Iterator[Any]:
    token = None
    while True:
        page = search(max_results=size, page_token=token)
        yield from page
        token = page.token
        del page  # before the next one is read
        if not token:
            return


def stored_run(run: Any, uri: str, workspace: str, experiment_name: str) -> StoredRun:
    """Return a run of a store, given as MLflow's `Run`."""
    return StoredRun(
        describe(run, uri, workspace, experiment_name=experiment_name, resumed=True, owned=True),
        run.info.status,
        run.info.lifecycle_stage == "deleted",
        dict(run.data.params),
        dict(run.data.metrics),
        tuple(latest_points(run)),
        tuple(_named(run)),
    )


def _understood(run: Any, uri: str, workspace: str, experiment_name: str) -> list[StoredRun]:
    """Return a run of a store, or nothing: one that cannot be understood does not keep the others from being found."""
    with guard(f"reading the run {run.info.run_id}"):
        return [stored_run(run, uri, workspace, experiment_name)]
    return []


def _named(run: Any) -> Iterator[str]:
    """Yield names of a run's data sets and models; a run of MLflow 2 has no models."""
    inputs, outputs = getattr(run, "inputs", None), getattr(run, "outputs", None)
    for each in getattr(inputs, "dataset_inputs", None) or ():
        yield f"{each.dataset.name} {each.dataset.digest}"
    for models in (getattr(inputs, "model_inputs", None), getattr(outputs, "model_outputs", None)):
        yield from (each.model_id for each in models or ())
