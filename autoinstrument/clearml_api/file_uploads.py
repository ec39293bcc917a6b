"""Upload files to the storage that ClearML is configured with: its file server, a bucket or a folder.

An upload to a file server is one bounded request. Other storage (`s3://`, `gs://`, `azure://`, a folder) is the work of
the SDK's drivers, which have no time limit: an upload that takes too long is left behind with its thread.
"""

from __future__ import annotations

import hashlib
import io
import mimetypes
import re
import tempfile
import threading
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import quote, urlsplit

from autoinstrument.clearml_api import sdk
from autoinstrument.clearml_api.attempts import DEADLINE_S
from autoinstrument.clearml_api.deadline import Deadline, OverdueError
from autoinstrument.clearml_api.errors import InternalError, RefusedError, UnavailableError
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.task import Task

_STORE_S, _STORE_BYTES_PER_S = 60.0, 500_000
_SLOWEST_DISK = 10e6
"""Bytes per second that a file server writes to its disk before it answers."""
_LONGEST_NAME = 200
"""Characters of the name of one folder or file; file systems have room for 255 bytes."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._~ -]")


class FileUploads:
    """Uploads of pictures to the file server, of artifacts to `default_output_uri` if that is set.

    Figures of matplotlib go to `plot_upload_destination` if that is set.
    """

    def __init__(self, session: Session) -> None:
        self._login = session.login
        self._server = FileServer(session)
        self._deadline = Deadline("autoinstrument-upload")

    def upload(
        self, task: Task, folder: str, path: str, content: bytes | Path, *, artifact: bool, figure: bool = False
    ) -> str:
        """Upload a file to a place that depends on the Task and the path alone, and return its address.

        Args:
            task: the Task that the file belongs to.
            folder: "artifacts", "models" or "metrics", as in the SDK's own addresses.
            path: path of the file in MLflow.
            content: the file's bytes, or a local file.
            artifact: False for a picture.
            figure: it is a figure of matplotlib, for which another place may be configured.

        Raises:
            UnavailableError: the storage did not answer, or not in time.
            RefusedError: the storage does not take this file.
            NotAllowedError: no storage is configured.
        """
        pictures = self._login.figures_destination if figure else self._login.files_server
        destination = self._login.output_uri(task.output) if artifact else pictures()
        name = "/".join(_name(part) for part in (f"mlflow.{task.id}", folder, *path.split("/")))
        if destination.startswith(("http://", "https://")):
            kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
            if isinstance(content, Path):
                with content.open("rb") as stream:
                    self._server.upload(destination, name, stream, kind)
            else:
                self._server.upload(destination, name, io.BytesIO(content), kind)
            return f"{destination}/{quote(name)}"
        if isinstance(content, Path):
            return self._store(content, f"{destination}/{name}")
        with tempfile.TemporaryDirectory(prefix="autoinstrument-") as temporary:
            copy = Path(temporary) / Path(name).name
            copy.write_bytes(content)
            return self._store(copy, f"{destination}/{name}")

    def _store(self, file: Path, address: str) -> str:
        """Upload with the SDK's drivers, within a time that depends on the size."""
        place = address.partition("://")[2].partition("/")[0] or address
        limit_s = _STORE_S + file.stat().st_size / _STORE_BYTES_PER_S
        try:
            stored = str(self._deadline.do(lambda: sdk.store_file(file, address), limit_s))
        except OverdueError as error:
            raise UnavailableError(f"{place} did not take {file.name}: {error}") from None
        except (ImportError, PermissionError, ValueError) as error:
            raise RefusedError(f"{place}: {error}"[:500]) from error
        except Exception as error:  # each driver has its own
            raise UnavailableError(f"{place}: {error}"[:500]) from error
        if not stored:
            raise UnavailableError(f"{place}: not uploaded")
        return stored


class FileServer:
    """Uploads to ClearML's file server, or to another one that takes the same requests."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._of_caller = threading.local()

    def upload(self, server: str, name: str, stream: IO[bytes], kind: str) -> None:
        """Upload a file in one request.

        Args:
            server: address of the server.
            name: path of the file there. It must have no percent sign, which some servers decode.
            stream: the file's content, from the first byte on; it can be read again.
            kind: its media type.

        Raises:
            UnavailableError, NotAllowedError, RefusedError: it was not uploaded.
        """
        size = stream.seek(0, io.SEEK_END)
        of_caller = vars(self._of_caller)  # `send` runs on another thread

        def send(session: Any) -> Any:
            stream.seek(0)
            http = of_caller["http"] = of_caller.get("http") or sdk.new_http_session()
            body = sdk.multipart({f"/{name}": (f"/{name}", stream, kind)})
            headers = {"Content-Type": body.content_type}
            login = self._session.login
            own = {urlsplit(address)[:2] for address in (login.files_server(), login.figures_destination())}
            if urlsplit(server)[:2] in own:  # no other server gets a token
                headers = sdk.with_token(session, headers)
            limits = (sdk.CONNECT_S, sdk.READ_S + size / _SLOWEST_DISK)
            return http.post(server, data=body, headers=headers, timeout=limits)

        try:
            self._session.request(send, f"upload to {urlsplit(server).netloc}", DEADLINE_S + 10 * size / _SLOWEST_DISK)
        except InternalError as error:  # this server has no envelope
            raise RefusedError(str(error)) from error
        except UnavailableError:
            of_caller["http"] = None  # a thread that was left behind may still use it
            raise


def _name(part: str) -> str:
    """Return the name of a folder or file as every storage takes it, and as no file server decodes it to another."""
    name = _UNSAFE.sub("_", part)
    if name == part and len(name) <= _LONGEST_NAME:
        return name
    path = PurePosixPath(name)
    digest = hashlib.sha256(part.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{path.stem[:_LONGEST_NAME]}.{digest}{path.suffix[:20]}"
