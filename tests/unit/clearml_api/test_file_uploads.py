"""Files go to the file server in one request, or to other storage by the SDK's drivers."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from autoinstrument.clearml_api import file_uploads, sdk
from autoinstrument.clearml_api.errors import NotAllowedError, RefusedError, UnavailableError
from autoinstrument.clearml_api.file_uploads import FileServer, FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Task
from tests.clearml_server import ClearMLServer, Fault
from tests.unit.conftest import Configure

TASK = Task("t", "", False, {}, {}, "in_progress", "")


@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_the_file_server(server: ClearMLServer, session: Session, tmp_path: Path, kind: str) -> None:
    (tmp_path / "given").write_bytes(b"content")
    content = b"content" if kind == "bytes" else tmp_path / "given"
    address = FileUploads(session).upload(TASK, "artifacts", "a b/c.txt", content, artifact=True)
    assert address == f"{server.files_url}/mlflow.t/artifacts/a%20b/c.txt"
    assert server.files == {"mlflow.t/artifacts/a b/c.txt": b"content"}


def test_the_address_depends_on_task_and_path_alone(server: ClearMLServer, session: Session) -> None:
    uploads = FileUploads(session)
    addresses = {uploads.upload(TASK, "metrics", "a.png", content, artifact=False) for content in (b"1", b"2")}
    assert len(addresses) == 1
    assert list(server.files.values()) == [b"2"]


def test_names_that_a_server_could_decode(server: ClearMLServer, session: Session) -> None:
    paths = ["100%.txt", "100_.txt", "ä.txt", "x" * 300 + ".txt", "x" * 299 + "y.txt", "raw\udcff.txt"]
    uploads = FileUploads(session)
    addresses = {uploads.upload(TASK, "artifacts", path, b"1", artifact=True) for path in paths}
    assert len(addresses) == len(paths) == len(server.files)
    assert all("%25" not in address and address.endswith(".txt") for address in addresses)


@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_a_folder(server: ClearMLServer, session: Session, tmp_path: Path, kind: str) -> None:
    (tmp_path / "given").write_bytes(b"content")
    content = b"content" if kind == "bytes" else tmp_path / "given"
    task = TASK._replace(output=f"file://{tmp_path}/store")
    FileUploads(session).upload(task, "artifacts", "a/c.txt", content, artifact=True)
    assert (tmp_path / "store" / "mlflow.t" / "artifacts" / "a" / "c.txt").read_bytes() == b"content"
    assert server.files == {}


def test_the_place_that_is_configured_for_figures(
    server: ClearMLServer, session: Session, tmp_path: Path, configure: Configure
) -> None:
    """Other pictures go to the file server."""
    address = FileUploads(session).upload(TASK, "metrics", "a.png", b"1", artifact=False, figure=True)
    assert address == f"{server.files_url}/mlflow.t/metrics/a.png"
    configure("metrics.plot_upload_destination", f"file://{tmp_path}/plots/")
    uploads = FileUploads(Session())  # a session reads the configuration once
    uploads.upload(TASK, "metrics", "b.png", b"2", artifact=False, figure=True)
    uploads.upload(TASK, "metrics", "c.png", b"3", artifact=False)
    assert (tmp_path / "plots" / "mlflow.t" / "metrics" / "b.png").read_bytes() == b"2"
    assert sorted(server.files) == ["mlflow.t/metrics/a.png", "mlflow.t/metrics/c.png"]


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (PermissionError("no"), RefusedError),
        (ImportError("no boto3"), RefusedError),
        (OSError("down"), UnavailableError),
        (None, UnavailableError),
    ],
)
def test_errors_of_a_driver(
    session: Session, monkeypatch: pytest.MonkeyPatch, raised: Exception | None, error: type[Exception]
) -> None:
    def store(*_: object) -> str:
        if raised is not None:
            raise raised
        return ""

    monkeypatch.setattr(sdk, "store_file", store)
    with pytest.raises(error, match="bucket: "):
        FileUploads(session).upload(TASK._replace(output="s3://bucket"), "artifacts", "a", b"", artifact=True)


def test_a_driver_that_hangs(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    over = threading.Event()
    monkeypatch.setattr(sdk, "store_file", lambda *_: str(over.wait()))
    monkeypatch.setattr(file_uploads, "_STORE_S", 0.2)
    with pytest.raises(UnavailableError, match="bucket did not take a: no answer within"):
        FileUploads(session).upload(TASK._replace(output="s3://bucket"), "artifacts", "a", b"", artifact=True)
    over.set()


def test_only_the_own_file_server_gets_the_token(server: ClearMLServer, session: Session) -> None:
    """The double takes no file without one."""
    with ClearMLServer() as other, pytest.raises(NotAllowedError, match="401"):
        FileServer(session).upload(other.files_url, "name", io.BytesIO(b"1"), "text/plain")
    FileServer(session).upload(server.files_url, "name", io.BytesIO(b"1"), "text/plain")
    assert server.files == {"name": b"1"}


def test_an_upload_after_a_single_failure_is_whole(server: ClearMLServer, session: Session) -> None:
    server.faults.add(Fault("files.upload", status=503, times=2, when="before"))
    FileServer(session).upload(server.files_url, "name", io.BytesIO(b"content"), "text/plain")
    assert server.files == {"name": b"content"}


@pytest.mark.parametrize(("status", "error"), [(404, UnavailableError), (400, RefusedError), (406, RefusedError)])
def test_only_what_a_gateway_says_of_the_file_is_a_refusal(
    server: ClearMLServer, session: Session, status: int, error: type[Exception]
) -> None:
    """Kubernetes' ingress answers 404 while the file server restarts: the file is uploaded later."""
    server.faults.add(Fault("files.upload", status=status))
    with pytest.raises(error):
        FileUploads(session).upload(TASK, "artifacts", "a.txt", b"1", artifact=True)
