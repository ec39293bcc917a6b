"""Mirror artifacts: the files that were written to a run's artifact root, with the content of small ones.

All ways to log files call three methods of `TrackingServiceClient` (seen in mlflow 2.16 to 3.17). Texts, figures,
images and tables are written to a temporary file first, which is gone a moment later. So a small file is read here, on
the training thread; the worker reads larger ones from the store.
"""

from __future__ import annotations

import base64
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from autoinstrument import previews
from autoinstrument.agent import Agent
from autoinstrument.integrations.mlflow_internals import LOG_ARTIFACT_ASYNC
from autoinstrument.integrations.observing import complete_later, know, watched
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.records import ArtifactLogged, EventsDropped, Record
from autoinstrument.transport.deferred_records import DeferredFile

_SMALL = 256 * 2**10
"""The most bytes of one file that are read here."""
_FILES, _BYTES = 2000, 4 * 2**20
"""Limits of one call: files that are reported one by one, and bytes that are read."""
_RENAMED, _RENAMING = frozenset("#%?"), ("http", "https", "mlflow-artifacts", "")
"""Characters that rename a file, and the schemes of artifact roots ("": not known) where they do: their clients put
paths into URLs as they are, so that the server stores `a#b` as `a` (mlflow 2.16 to 3.17)."""


class _File(NamedTuple):
    local: str
    path: str


def _log_artifact(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    local, folder = os.fspath(call["local_path"]), call.get("artifact_path") or ""
    if Path(local).is_dir():
        name = posixpath.basename(os.path.normpath(local))
        _post_files(the_agent, client, call["run_id"], _below(local, posixpath.join(folder, name)))
    else:
        path = posixpath.normpath(posixpath.join(folder, Path(local).name))
        _post_files(the_agent, client, call["run_id"], iter([_File(local, path)]))


def _log_artifacts(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    folder = os.fspath(call["local_dir"])
    _post_files(the_agent, client, call["run_id"], _below(folder, call.get("artifact_path") or ""))


def _log_artifact_async(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    """Report that a file is about to be written; a thread of MLflow's does it, without a sign when it is done."""
    if the_agent.settings.artifacts != "off":
        know(the_agent, client, call["run_id"])
        path = posixpath.normpath(posixpath.join(call.get("artifact_path") or "", call["filename"]))
        _post(the_agent, ArtifactLogged(call["run_id"], path, -1, 0, None))


def _below(folder: str, path: str) -> Iterator[_File]:
    """Yield all files of a folder with their places in the store."""
    for parent, _, names in os.walk(folder):
        place = posixpath.join(path, os.path.relpath(parent, folder).replace(os.sep, "/"))
        for name in names:
            yield _File(os.path.join(parent, name), posixpath.normpath(posixpath.join(place, name)))  # noqa: PTH118


def _post_files(the_agent: Agent, client: Any, run_id: str, files: Iterator[_File]) -> None:
    if the_agent.settings.artifacts == "off":
        return
    know(the_agent, client, run_id)
    if the_agent.is_left_alone(run_id):
        return
    room = _BYTES
    for number, file in enumerate(files):
        if number == _FILES:
            the_agent.post(EventsDropped(run_id, 1))  # the store has them all
            return
        room -= _post_file(the_agent, run_id, file, room)


def _post_file(the_agent: Agent, run_id: str, file: _File, room: int) -> int:
    """Hand over one file, and its content where that is small; return how many bytes were read."""
    try:
        status = os.stat(file.local)  # noqa: PTH116  (half the time of pathlib's, on the training thread)
        size, time_ms = status.st_size, status.st_mtime_ns // 1_000_000
        wanted = previews.wanted(file.path, size)
        if wanted > min(_SMALL, room) or not the_agent.has_room(wanted):
            _post(the_agent, ArtifactLogged(run_id, file.path, size, time_ms, None))
            return 0
        with open(file.local, "rb", buffering=0) as stream:  # noqa: PTH123
            content = stream.read(wanted) if wanted else b""
    except OSError:  # it was removed in the meantime; the store has it
        _post(the_agent, ArtifactLogged(run_id, file.path, -1, 0, None))
        return 0

    def make(read: bytes) -> Record:
        text = base64.b64encode(previews.kept(read, size)).decode("ascii")
        return _as_kept(the_agent, ArtifactLogged(run_id, file.path, size, time_ms, text))

    the_agent.post(DeferredFile(content, make), run_id)
    return len(content)


def _post(the_agent: Agent, record: ArtifactLogged) -> None:
    """Hand over a file without its content."""
    if _RENAMED.isdisjoint(record.path):
        the_agent.post(record)
    else:
        the_agent.post(lambda: _as_kept(the_agent, record), record.run_id)


def _as_kept(the_agent: Agent, record: ArtifactLogged) -> Record:
    """Return the record, unless the file may have another name in the store: that is read when the run ends."""
    is_odd = not _RENAMED.isdisjoint(record.path)
    if is_odd and urlsplit(the_agent.artifact_root(record.run_id)).scheme in _RENAMING:
        return EventsDropped(record.run_id, 0)
    return record


METHODS: dict[str, Any] = {
    "log_artifact": watched(_log_artifact, "run_id", "local_path", "artifact_path", refused=complete_later),
    "log_artifacts": watched(_log_artifacts, "run_id", "local_dir", "artifact_path", refused=complete_later),
    LOG_ARTIFACT_ASYNC: watched(_log_artifact_async, "run_id", "filename", "artifact_path", "artifact"),
}
"""Methods of `TrackingServiceClient`."""
