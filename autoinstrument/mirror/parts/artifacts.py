"""A run's artifacts on their way to the Task: its list of artifacts, its plots, its debug samples."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from autoinstrument import previews
from autoinstrument.clearml_api.errors import FilesUnavailableError, RefusedError
from autoinstrument.clearml_api.tasks import Task, Tasks
from autoinstrument.guard import logger
from autoinstrument.mirror import mapping
from autoinstrument.mirror.mapping import artifact_entries, pictures
from autoinstrument.mirror.rejections import Rejections
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mlflow_store.artifacts import ArtifactStore
from autoinstrument.records import ArtifactLogged, Record, RunStarted
from autoinstrument.settings import Settings
from autoinstrument.transport.limits import RUN_CONTENTS_BYTES

MAX_ARTIFACTS = 2000
"""Artifacts of one Task: it is one document, of 16 MB at most."""
_MAX_PREVIEWS, _SHORT_PREVIEW = 4 * 2**20, 500
"""Characters of all previews together, and of one when these are used up."""
_BATCH, _BATCH_CHARACTERS = 100, 2 * 2**20
_TRIES = 3
"""How often a file is looked for that is not in the store yet: MLflow may be writing it."""


class _File(NamedTuple):
    """A file that was read: as much of it as is worth showing, and where all of it is if that is known."""

    record: ArtifactLogged
    content: bytes
    local: Path | None

    @property
    def is_whole(self) -> bool:
        return len(self.content) == self.record.size


class ArtifactsPart:
    """What of a run's artifacts its Task still lacks; see `mirror.parts.base`.

    `run` gives the run as it is known at the moment.

    Attributes:
        exact: a file that the Task seems to have is compared by its hash, too.
    """

    def __init__(
        self,
        run: Callable[[], RunStarted],
        settings: Settings,
        tasks: Tasks,
        uploads: Uploads,
        rejections: Rejections,
    ) -> None:
        self.exact = False
        self._run = run
        self._mode = settings.artifacts
        self._tasks = tasks
        self._uploads = uploads
        self._rejections = rejections
        self._waiting: dict[str, ArtifactLogged] = {}
        self._content = 0
        self._tries: dict[str, int] = {}
        self._lacking: set[str] = set()
        """Waiting files of which only the upload is not done."""
        self._task = ""
        self._found: dict[str, dict[str, Any]] = {}
        """The artifacts that the Task had when it was found, by key."""
        self._done: dict[str, ArtifactLogged] = {}
        """What the Task has of this run, by path; without content."""
        self._keys: set[str] = set()
        self._previews: dict[str, int] = {}
        self._left_out: dict[str, str] = {}
        self._noted = True
        self._entries: dict[str, dict[str, Any]] = {}
        self._events: list[dict[str, Any]] = []
        self._ready: list[ArtifactLogged] = []

    def take(self, record: Record) -> None:
        """Remember a file that was written; what an earlier record said of it no longer counts."""
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

    @property
    def has_work(self) -> bool:
        """True while something waits to be delivered."""
        return bool(self._waiting or not self._noted)

    def send(self, task: Task) -> None:
        """Bring the Task up to what is known.

        Raises:
            FilesUnavailableError: all was sent but what has to be uploaded.
            ClearMLError: the server did not take everything; what it did not take is kept.
        """
        if task.id != self._task:
            self._task, self._found, self._keys = task.id, task.artifacts, set(task.artifacts)
            self._done.clear()
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
        if not self._noted:
            lines = [f"{artifact_entries.shown(path)}: {reason}" for path, reason in self._left_out.items()]
            self._tasks.set_configuration(task, [mapping.files_left_out(lines)])
            self._noted = True
        if problem is not None:
            raise problem

    def _prepare(self, task: Task, record: ArtifactLogged) -> None:
        """Make of a file what is to be sent of it; one that cannot be read becomes a link, after some tries."""
        if self._is_there(record):
            self._ready.append(record)
            return
        if record.path in self._lacking or self._mode == "upload":
            self._uploads.check()
        began = time.monotonic()
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(self._read(record))
            except FilesUnavailableError:
                raise
            except Exception as error:  # the store raises what its driver raises, an ImportError too
                self._uploads.note_store(error, time.monotonic() - began)
                self._tries[record.path] = self._tries.get(record.path, 0) + 1
                if self._tries[record.path] < _TRIES:
                    return
                logger().warning("artifact %s cannot be read (%s: %s)", record.path, type(error).__name__, error)
                file = _File(record, b"", None)
            self._prepare_file(task, file)

    def _prepare_file(self, task: Task, file: _File) -> None:
        run, path = self._run(), file.record.path
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
                self._events.append(pictures.sample(task.id, path, address, time_ms))
            self._lacking.discard(path)
        self._ready.append(file.record)

    def _is_there(self, record: ArtifactLogged) -> bool:
        """Tell whether the Task had this very file when it was found; pictures are shown again all the same."""
        if record.content is not None or pictures.is_picture(record.path) or pictures.is_page(record.path):
            return False
        found = self._found.get(artifact_entries.key(record.path))
        if found is None:
            return False
        seconds = artifact_entries.seconds(self._run(), record)
        same = (found.get("content_size"), found.get("timestamp")) == (record.size, seconds)
        is_link = found.get("uri") == artifact_entries.address(self._run(), record.path)
        if not same or is_link != (self._mode == "link"):
            return False
        return not self.exact or ArtifactStore(self._run()).has_digest(
            record.path, record.size, found.get("hash") or ""
        )

    @contextlib.contextmanager
    def _read(self, record: ArtifactLogged) -> Iterator[_File]:
        """Give what is worth reading of a file; the file itself too where it has to be read from the store."""
        store = ArtifactStore(self._run())
        if record.content is not None:
            content = base64.b64decode(record.content)
            if self._mode != "upload" or len(content) == record.size:
                yield _File(record, content, None)
                return
        elif self._mode != "upload" and not store.is_cheap(record.size):
            yield _File(record, b"", None)
            return
        if not store.is_local:
            self._uploads.check_store()
        with store.local(record.path) as local:
            status = local.stat()
            time_ms = status.st_mtime_ns // 1_000_000 if store.is_local else record.time_ms
            with local.open("rb") as stream:
                content = stream.read(previews.wanted(record.path, status.st_size))
            record = record._replace(size=status.st_size, time_ms=time_ms)
            yield _File(record, previews.kept(content, status.st_size), local)

    def _uploaded(self, task: Task, file: _File, folder: str) -> str:
        """Upload a file and return its address; "" where it is not taken, or cannot be read."""
        path = file.record.path
        source = file.content if file.is_whole else file.local
        if source is None or (folder == "metrics" and not file.is_whole):
            is_large = file.record.size > previews.MAX_SHOWN
            self._leave_out(path, "too large to be shown" if is_large else "cannot be read from MLflow's store")
            return ""
        try:
            return self._uploads.upload(task, folder, path, source, artifact=folder == "artifacts")
        except RefusedError as error:
            self._leave_out(path, f"not uploaded: {error}")
            return ""

    def _add_entry(self, file: _File, address: str) -> None:
        path = file.record.path
        found = self._found.get(artifact_entries.key(path))
        key = artifact_entries.key(path, taken=found is not None and not artifact_entries.is_ours(found))
        if key not in self._keys and len(self._keys) >= MAX_ARTIFACTS:
            self._leave_out(path, f"a Task has room for {MAX_ARTIFACTS} artifacts")
            return
        self._keys.add(key)
        preview = artifact_entries.preview(path, file.content)
        if sum(self._previews.values()) - self._previews.get(path, 0) + len(preview) > _MAX_PREVIEWS:
            preview = preview[:_SHORT_PREVIEW]
        self._previews[path] = len(preview)
        digest = hashlib.sha256(file.content).hexdigest() if file.is_whole else _digest(file.local, self._mode)
        self._entries[key] = artifact_entries.entry(self._run(), file.record, key, address, preview, digest)

    def _leave_out(self, path: str, reason: str) -> None:
        if self._left_out.get(path) != reason:
            self._left_out[path] = reason
            self._noted = False

    def _characters(self) -> int:
        return sum(len(event.get("plot_str", "")) for event in self._events) + sum(
            len(entry["type_data"]["preview"]) for entry in self._entries.values()
        )

    def _send_batch(self, task: Task) -> None:
        """Send what is prepared; events first, so that an artifact that is there has its plots there too."""
        self._rejections.send_events(self._tasks.add_events, self._events)
        add = functools.partial(self._tasks.add_artifacts, task)
        self._rejections.send_each(add, list(self._entries.values()), lambda entry: f"the artifact {entry['key']!r}")
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
