"""Compare a Task's artifacts and plots with the files of its run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autoinstrument.clearml_api import storable
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.mirror.kinds.artifact_list import FILES_LEFT_OUT, MAX_ARTIFACTS
from autoinstrument.mirror.kinds.kind import TaskOfRun
from autoinstrument.mirror.mapping import artifact_entries, figures, pictures
from autoinstrument.mlflow_store.artifact_addresses import is_same_place
from autoinstrument.mlflow_store.artifacts import ArtifactStore
from autoinstrument.records import ArtifactLogged, RunStarted


def problem(
    run: RunStarted, record: ArtifactLogged, held: Mapping[str, Any] | None, *, is_link: bool, exact: bool
) -> str:
    """Return how a Task's artifact differs from a file of the run, "" if it is that very file.

    Args:
        run: the run.
        record: the file, as the store lists it.
        held: the artifact, None if there is none.
        is_link: the artifact must link to MLflow's store, and not to an upload.
        exact: compare the content too, if the Task has a hash.

    Raises:
        Exception: the store does not answer; it raises what its driver raises.
    """
    if held is None:
        return "missing"
    if record.size >= 0 and held.get("content_size") != record.size:
        return f"{held.get('content_size')} bytes instead of {record.size}"
    if is_link and not is_same_place(str(held.get("uri")), artifact_entries.address(run, record.path)):
        return f"links to {held.get('uri')}"
    if exact and not ArtifactStore(run).has_digest(record.path, record.size, held.get("hash") or ""):
        return "other content"
    return ""


def problems(of: TaskOfRun, files: Iterable[ArtifactLogged], tasks: Tasks) -> Iterator[tuple[str, str]]:
    """Yield path and problem of each file that the Task does not have, or does not show, as the run has it.

    Raises:
        Exception: the store does not answer; it raises what its driver raises.
        ClearMLError: the server does not answer.
    """
    run, is_link = of.stored.run, of.settings.artifacts == "link"
    artifacts = (of.task.get("execution") or {}).get("artifacts") or []
    held, is_full = _by_path(artifacts), len(artifacts) >= MAX_ARTIFACTS
    left_out = of.configuration(FILES_LEFT_OUT)
    plots = _Plots(run, str(of.task["id"]), tasks)
    listed = set[str]()
    for record in files:
        path = artifact_entries.shown(record.path)
        listed.add(path)
        if path not in held and (is_full or f"{path}: " in left_out):
            continue  # the list of files left out may be cut
        found = problem(run, record, held.get(path), is_link=is_link, exact=True)
        if not found and f"{path}: " not in left_out and plots.lack(record):
            found = "a figure of matplotlib that is not among the plots"
        if found:
            yield path, found
    if listed:  # else the store may be away, as a folder is that is not mounted
        yield from ((path, "no longer in MLflow") for path in held if path not in listed)


class _Plots:
    """The plots of a Task: which figures of its run they lack, as those of Tasks do that older releases made."""

    def __init__(self, run: RunStarted, task_id: str, tasks: Tasks) -> None:
        self._store, self._task_id, self._tasks = ArtifactStore(run), task_id, tasks
        self._titles: set[str] | None = None

    def lack(self, record: ArtifactLogged) -> bool:
        """Return True if a file is a figure whose title no plot has."""
        path = record.path
        if record.size == 0 or not figures.may_be_figure(path) or not self._store.is_cheap(record.size):
            return False
        if self._titles is None:
            self._titles = self._tasks.plot_titles(self._task_id)
        if storable.text(pictures.place(path).title) in self._titles or not self._tasks.has_http_figures():
            return False
        with self._store.local(path) as local, local.open("rb") as stream:
            return figures.is_figure(path, stream.read(figures.HEAD))


def _by_path(artifacts: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return a Task's artifacts that are MLflow's, by their path there."""
    by_path = {artifact_entries.path_of(artifact): artifact for artifact in artifacts}
    return {path: artifact for path, artifact in by_path.items() if path is not None}
