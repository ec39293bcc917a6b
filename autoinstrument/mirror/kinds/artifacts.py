"""A run's artifacts: the Task's list of artifacts, its plots, its debug samples."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from autoinstrument import previews
from autoinstrument.clearml_api.errors import FilesUnavailableError, RefusedError
from autoinstrument.clearml_api.tasks import Task, Tasks
from autoinstrument.guard import logger
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds import artifact_diff
from autoinstrument.mirror.kinds.artifact_content import ArtifactContent, read_content
from autoinstrument.mirror.kinds.artifact_list import ArtifactList
from autoinstrument.mirror.kinds.kind import Delivery, Difference, Kind, RunPart, StoredData, TaskOfRun
from autoinstrument.mirror.mapping import artifact_entries, figures, pictures
from autoinstrument.mlflow_store.artifact_addresses import is_same_place
from autoinstrument.mlflow_store.run_reader import RunReader
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import ArtifactLogged, Record
from autoinstrument.settings import Settings
from autoinstrument.transport.limits import RUN_CONTENTS_BYTES

_BATCH, _BATCH_CHARACTERS = 100, 2 * 2**20
_TRIES = 3
"""Attempts to read a file that is not in the store yet: MLflow may be writing it."""


class Artifacts(Kind):
    """Each file is an artifact under its path; some are shown as plots or debug samples too."""

    name = "artifact"
    is_of_files = True

    def is_mirrored(self, settings: Settings) -> bool:
        """Return False for AUTOINSTRUMENT_ARTIFACTS=off."""
        return settings.artifacts != "off"

    def part(self, context: RunContext) -> RunPart:
        """See `Kind.part`."""
        return _ArtifactsPart(context)

    def read(self, run: RunReader) -> Iterable[StoredData]:
        """Return each file that the artifact store lists, without content."""
        return run.files()

    def glance(self, of: TaskOfRun) -> Iterable[Difference]:
        """Return nothing: a search lists no files."""
        return ()

    def compare(self, of: TaskOfRun, data: Iterable[StoredData], tasks: Tasks) -> Iterator[Difference]:
        """Compare each file with the Task's artifact: size, link, content where the Task has a hash, and place."""
        files = [record for record in data if isinstance(record, ArtifactLogged)]
        shown = [record for record in files if not pictures.is_thumbnail(record.path)]
        for path, problem in artifact_diff.problems(of, shown, tasks):
            yield Difference(self.name, f"{path}: {problem}")

    def facts(self, run: StoredRun, data: Iterable[StoredData]) -> Iterator[tuple[str, str]]:
        """Yield the size of each file."""
        for record in data:
            if isinstance(record, ArtifactLogged):
                yield f"artifact {record.path}", f"{record.size} bytes"


class _ArtifactsPart(RunPart):
    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._mode = context.settings.artifacts
        self._is_exact = False
        self._waiting: dict[str, ArtifactLogged] = {}
        self._content = 0
        self._tries: dict[str, int] = {}
        self._lacking: set[str] = set()
        """Waiting files of which only the upload is not done."""
        self._task = ""
        self._list = ArtifactList()
        self._done: dict[str, ArtifactLogged] = {}
        """Files of this run that the Task has, by path; without content."""
        self._entries: dict[str, dict[str, Any]] = {}
        self._events: list[dict[str, Any]] = []
        self._ready: list[ArtifactLogged] = []
        self._stored: set[str] | None = None
        """Paths of all files that the store has, None if it was not asked since the last `send`."""

    def take_stored(self, data: Iterable[StoredData], delivery: Delivery) -> None:
        """Take each file that the store lists; artifacts of others go, unless it lists none: it may be away."""
        files = [record for record in data if isinstance(record, ArtifactLogged)]
        for record in files:
            self.take(record)
        self._stored = {artifact_entries.shown(record.path) for record in files} or None

    def take(self, record: Record) -> None:
        """Remember a file that was written; earlier records of it no longer count."""
        if self._mode == "off" or not isinstance(record, ArtifactLogged) or pictures.is_thumbnail(record.path):
            return
        done = self._done.get(record.path)
        if (
            done
            and record.content is None
            and (record.size, record.time_ms or done.time_ms) == (done.size, done.time_ms)
        ):
            return  # the same, read back from the store
        self._drop(record.path)
        if self._content + len(record.content or "") > RUN_CONTENTS_BYTES:
            record = record._replace(content=None)
        self._content += len(record.content or "")
        self._waiting[record.path] = record

    def compare_exactly(self) -> None:
        self._is_exact = True

    @property
    def has_work(self) -> bool:
        return bool(self._waiting or self._list.has_news or self._stored)

    def send(self, task: Task) -> None:
        """Bring the Task up to what is known.

        Raises:
            FilesUnavailableError: everything was sent except uploads.
            ClearMLError: the server did not take everything; what it did not take is kept.
        """
        if task.id != self._task:
            self._task = task.id
            self._list.begin(task)
            self._done.clear()
        self._delete_gone(task)
        problem: FilesUnavailableError | None = None
        self._entries, self._events, self._ready = {}, [], []
        for record in list(self._waiting.values()):
            try:
                self._prepare(task, record)
            except FilesUnavailableError as error:
                problem = error
            if len(self._ready) >= _BATCH or self._characters() > _BATCH_CHARACTERS:
                self._send_batch(task)
        self._send_batch(task)
        if self._list.has_news:
            self._context.tasks.set_configuration(task, [self._list.left_out()])
            self._list.listed()
        if problem is not None:
            raise problem

    def _delete_gone(self, task: Task) -> None:
        """Take artifacts off the Task whose files were deleted in MLflow."""
        if self._stored is not None:
            logged = map(artifact_entries.shown, (*self._waiting, *self._done))
            self._context.tasks.delete_artifacts(task, self._list.gone(self._stored.union(logged)))
            self._stored = None

    def _prepare(self, task: Task, record: ArtifactLogged) -> None:
        """Prepare what is sent of a file; one that cannot be read becomes a mere link after some tries."""
        if self._is_there(record):
            self._ready.append(record)
            return
        if record.path in self._lacking or self._mode == "upload":
            self._context.uploads.check()
        began = time.monotonic()
        with contextlib.ExitStack() as stack:
            try:
                context, upload = self._context, self._mode == "upload"
                file = stack.enter_context(read_content(context.run, record, context.uploads, upload=upload))
            except FilesUnavailableError:
                raise
            except Exception as error:  # the store raises what its driver raises, an ImportError too
                self._context.uploads.note_store(error, time.monotonic() - began)
                self._tries[record.path] = self._tries.get(record.path, 0) + 1
                if self._tries[record.path] < _TRIES:
                    return
                logger().warning("artifact %s cannot be read (%s: %s)", record.path, type(error).__name__, error)
                file = ArtifactContent(record, b"", None)
            self._prepare_file(task, file)

    def _prepare_file(self, task: Task, file: ArtifactContent) -> None:
        run, path = self._context.run, file.record.path
        time_ms = file.record.time_ms or run.start_time_ms
        address = self._uploaded(task, file, "artifacts") if self._mode == "upload" else ""
        plots = pictures.plots(task.id, path, file.content, time_ms) if file.is_whole else []
        self._events += plots
        self._add_entry(file, address or artifact_entries.address(run, path))
        if (pictures.is_picture(path) or (pictures.is_page(path) and not plots)) and file.record.size > 0:
            self._lacking.add(path)
            if not address.startswith("http"):  # browsers open nothing else
                address = self._uploaded(task, file, "metrics")
            if address:
                self._events.append(pictures.picture(task.id, path, address, time_ms, file.head()))
            self._lacking.discard(path)
        self._ready.append(file.record)

    def _is_there(self, record: ArtifactLogged) -> bool:
        """Return True if the Task had this very file when it was found; pictures are always shown again."""
        is_written = record.content is not None or record.size < 0
        if is_written or pictures.is_picture(record.path) or pictures.is_page(record.path):
            return False
        run, found = self._context.run, self._list.found(record.path)
        if found is None or found.get("timestamp") != artifact_entries.seconds(run, record):
            return False
        is_link = self._mode == "link"
        if not is_link and is_same_place(str(found.get("uri")), artifact_entries.address(run, record.path)):
            return False
        return not artifact_diff.problem(run, record, found, is_link=is_link, exact=self._is_exact)

    def _uploaded(self, task: Task, file: ArtifactContent, folder: str) -> str:
        """Upload a file and return its address; "" if it is refused, or cannot be read."""
        path = file.record.path
        source = file.content if file.is_whole else file.local
        if source is None or (folder == "metrics" and not file.is_whole):
            is_large = file.record.size > previews.MAX_SHOWN
            self._list.leave_out(path, "too large to be shown" if is_large else "cannot be read from MLflow's store")
            return ""
        try:
            is_artifact = folder == "artifacts"
            is_figure = not is_artifact and figures.may_be_figure(path) and figures.is_figure(path, file.head())
            return self._context.uploads.upload(task, folder, path, source, artifact=is_artifact, figure=is_figure)
        except RefusedError as error:
            self._list.leave_out(path, f"not uploaded: {error}")
            return ""

    def _add_entry(self, file: ArtifactContent, address: str) -> None:
        digest = hashlib.sha256(file.content).hexdigest() if file.is_whole else _digest(file.local, self._mode)
        entry = self._list.entry(self._context.run, file, address, digest)
        if entry is not None:
            self._entries[str(entry["key"])] = entry

    def _characters(self) -> int:
        return sum(len(event.get("plot_str", "")) for event in self._events) + sum(
            len(entry["type_data"]["preview"]) for entry in self._entries.values()
        )

    def _send_batch(self, task: Task) -> None:
        """Send what is prepared; events first, so that every artifact on the Task has its plots there too."""
        self._context.events.send_now(self._events)
        add, entries = functools.partial(self._context.tasks.add_artifacts, task), list(self._entries.values())
        self._context.rejections.send_each(add, entries, lambda entry: f"the artifact {entry['key']!r}")
        for record in self._ready:
            self._drop(record.path)
            self._done[record.path] = record._replace(content=None)
        self._entries, self._events, self._ready = {}, [], []

    def _drop(self, path: str) -> None:
        record = self._waiting.pop(path, None)
        self._content -= len(record.content or "") if record else 0
        self._tries.pop(path, None)
        self._lacking.discard(path)


def _digest(file: Path | None, mode: str) -> str:
    """Return the SHA-256 of a file that is read in full anyway, else ""."""
    if file is None or mode != "upload":
        return ""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()
