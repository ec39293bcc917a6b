"""The content of an artifact that is worth reading: it came with the record, or is read from MLflow's store."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from pathlib import Path

from autoinstrument import previews
from autoinstrument.mirror.mapping import figures
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mlflow_store.artifacts import ArtifactStore
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.records import ArtifactLogged, RunStarted


class ArtifactContent(NamedTuple):
    """A file that was read.

    Attributes:
        record: the file, with the size and the time that the store has for it.
        content: the bytes that are worth showing.
        local: the whole file on this machine, None if it was not fetched.
    """

    record: ArtifactLogged
    content: bytes
    local: Path | None

    @property
    def is_whole(self) -> bool:
        """True if `content` is the whole file."""
        return len(self.content) == self.record.size

    def head(self) -> bytes:
        """Return the file's beginning, `figures.HEAD` bytes at most; b"" if it cannot be read."""
        if self.content or self.local is None:
            return self.content[: figures.HEAD]
        with contextlib.suppress(OSError), self.local.open("rb") as stream:
            return stream.read(figures.HEAD)
        return b""


@contextlib.contextmanager
def read_content(
    run: RunStarted, record: ArtifactLogged, uploads: Uploads, *, upload: bool
) -> Iterator[ArtifactContent]:
    """Give the content of a run's file; with `upload` all of it is needed.

    Raises:
        FilesUnavailableError: the store kept the caller waiting a moment ago, and is left alone.
        Exception: the store does not answer; it raises what its driver raises.
    """
    store = ArtifactStore(run)
    if record.content is not None:
        content = base64.b64decode(record.content)
        if not upload or len(content) == record.size:
            yield ArtifactContent(record, content, None)
            return
    elif not upload and not store.is_cheap(record.size):
        yield ArtifactContent(record, b"", None)
        return
    if not store.is_local:
        uploads.check_store()
    with store.local(record.path) as local:
        status = local.stat()
        time_ms = status.st_mtime_ns // 1_000_000 if store.is_local else record.time_ms
        with local.open("rb") as stream:
            content = stream.read(previews.wanted(record.path, status.st_size))
        record = record._replace(size=status.st_size, time_ms=time_ms)
        yield ArtifactContent(record, previews.kept(content, status.st_size), local)
