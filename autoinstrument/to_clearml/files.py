"""Upload files to where ClearML keeps them: its file server, or the storage that the user has configured instead.

An upload to a file server is one bounded request. Other storage (`s3://`, `gs://`, `azure://`, a folder) is the SDK's
own work, which has no limit in time: it is left alone, on a thread of its own, when it takes too long.
"""

from __future__ import annotations

import hashlib
import mimetypes
import re
import tempfile
import threading
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from autoinstrument.to_clearml.errors import RefusedError, UnavailableError
from autoinstrument.to_clearml.session import Session
from autoinstrument.to_clearml.tasks import Task

_STORE_S, _STORE_BYTES_PER_S = 60.0, 500_000
_LONGEST_NAME = 200
"""Characters of one folder's or file's name; file systems have room for 255 bytes."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._~ -]")


class Files:
    """The places for files: of pictures the files server, of artifacts `default_output_uri` where it is set."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def upload(self, task: Task, folder: str, path: str, content: bytes | Path, *, artifact: bool) -> str:
        """Upload a file to a place that depends on the Task and the path alone, and return its address.

        Args:
            task: whose file it is.
            folder: "artifacts" or "metrics", as in the SDK's own addresses.
            path: its path in MLflow.
            content: its bytes, or where they are.
            artifact: False for a picture.

        Raises:
            UnavailableError: the storage did not answer, or not in time.
            RefusedError: it does not take this file.
        """
        destination = self._session.output_uri(task.output) if artifact else self._session.files_server()
        name = "/".join(_name(part) for part in (f"mlflow.{task.id}", folder, *path.split("/")))
        if destination.startswith(("http://", "https://")):
            kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
            if isinstance(content, Path):
                with content.open("rb") as stream:
                    self._session.upload(destination, name, stream, kind)
            else:
                self._session.upload(destination, name, content, kind)
            return f"{destination}/{quote(name)}"
        if isinstance(content, Path):
            return _store(content, f"{destination}/{name}")
        with tempfile.TemporaryDirectory(prefix="autoinstrument-") as temporary:
            copy = Path(temporary) / Path(name).name
            copy.write_bytes(content)
            return _store(copy, f"{destination}/{name}")


def _name(part: str) -> str:
    """Return a folder's or file's name as every storage takes it, and as no file server decodes it to another one."""
    name = _UNSAFE.sub("_", part)
    if name == part and len(name) <= _LONGEST_NAME:
        return name
    path = PurePosixPath(name)
    digest = hashlib.sha256(part.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{path.stem[:_LONGEST_NAME]}.{digest}{path.suffix[:20]}"


def _store(file: Path, address: str) -> str:
    """Upload by the SDK's own drivers, within a time that depends on the size."""
    result: list[Any] = []

    def upload() -> None:
        from clearml.storage import StorageManager

        try:
            result.append(StorageManager.upload_file(str(file), address, retries=1))
        except Exception as error:  # each driver has its own
            result.append(error)

    thread = threading.Thread(target=upload, name="autoinstrument-upload", daemon=True)
    thread.start()
    thread.join(_STORE_S + file.stat().st_size / _STORE_BYTES_PER_S)
    place = address.partition("://")[2].partition("/")[0] or address
    if not result:
        raise UnavailableError(f"{place} did not take {file.name} in time")
    if isinstance(result[0], (ImportError, PermissionError, ValueError)):
        raise RefusedError(f"{place}: {result[0]}"[:500])
    if isinstance(result[0], Exception) or not result[0]:
        raise UnavailableError(f"{place}: {result[0] or 'not uploaded'}"[:500])
    return str(result[0])
