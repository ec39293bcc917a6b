"""Upload files to where ClearML keeps them: its file server, or the storage that the user has configured instead.

An upload to a file server is one bounded request. Other storage (`s3://`, `gs://`, `azure://`, a folder) is the SDK's
own work, which has no limit in time: it is left alone, on a thread of its own, when it takes too long.
"""

from __future__ import annotations

import hashlib
import mimetypes
import re
import tempfile
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from autoinstrument.clearml_api.deadline import Deadline, OverdueError
from autoinstrument.clearml_api.errors import RefusedError, UnavailableError
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Task

_STORE_S, _STORE_BYTES_PER_S = 60.0, 500_000
_LONGEST_NAME = 200
"""Characters of one folder's or file's name; file systems have room for 255 bytes."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._~ -]")


class FileUploads:
    """The places for files: of pictures the files server, of artifacts `default_output_uri` where it is set."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._limit = Deadline("autoinstrument-upload")

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
            return self._store(content, f"{destination}/{name}")
        with tempfile.TemporaryDirectory(prefix="autoinstrument-") as temporary:
            copy = Path(temporary) / Path(name).name
            copy.write_bytes(content)
            return self._store(copy, f"{destination}/{name}")

    def _store(self, file: Path, address: str) -> str:
        """Upload by the SDK's own drivers, within a time that depends on the size."""

        def upload() -> str:
            from clearml.storage import StorageManager

            return str(StorageManager.upload_file(str(file), address, retries=1) or "")

        place = address.partition("://")[2].partition("/")[0] or address
        try:
            stored = str(self._limit.do(upload, _STORE_S + file.stat().st_size / _STORE_BYTES_PER_S))
        except OverdueError as error:
            raise UnavailableError(f"{place} did not take {file.name}: {error}") from None
        except (ImportError, PermissionError, ValueError) as error:
            raise RefusedError(f"{place}: {error}"[:500]) from error
        except Exception as error:  # each driver has its own
            raise UnavailableError(f"{place}: {error}"[:500]) from error
        if not stored:
            raise UnavailableError(f"{place}: not uploaded")
        return stored


def _name(part: str) -> str:
    """Return a folder's or file's name as every storage takes it, and as no file server decodes it to another one."""
    name = _UNSAFE.sub("_", part)
    if name == part and len(name) <= _LONGEST_NAME:
        return name
    path = PurePosixPath(name)
    digest = hashlib.sha256(part.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{path.stem[:_LONGEST_NAME]}.{digest}{path.suffix[:20]}"
