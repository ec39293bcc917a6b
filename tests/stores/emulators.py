"""Artifact stores that run on this machine, with the settings for a training and for a person with ClearML's client."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.clearml_server.ports import hold
from tests.end_to_end.conftest import start_mlflow
from tests.end_to_end.processes import wait_for
from tests.stores.certificates import Authority
from tests.stores.connect_proxy import ConnectProxy
from tests.stores.plug_in import TOKEN, install

SECRET = "sesame-sesame"
_ACCOUNT = "devstoreaccount1"
_AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # Azurite's own
_BUCKET = "runs"
_BELOW = "/of/{run_id}/artifacts/{path}"


class Store(NamedTuple):
    """An artifact store.

    Attributes:
        root: the artifact location of an experiment there.
        environ: variables that MLflow's client of the store needs.
        link: the address of a file on the Task, with places for `run_id`, `path`, and the path `quoted`.
        clearml: what a person writes into `clearml.conf` to read files there, in its section `sdk`.
        is_read: ClearML's client can read them.
        uri: address of the MLflow server, "" for a database.
    """

    root: str
    environ: dict[str, str]
    link: str
    clearml: str = ""
    is_read: bool = True
    uri: str = ""


@contextlib.contextmanager
def s3(home: Path, database: Path) -> Iterator[Store]:
    """Moto's server, as any store with the protocol of S3."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    wait_for(lambda: server._server)
    endpoint = f"127.0.0.1:{server._server.port}"
    import boto3

    keys = {"aws_access_key_id": "key", "aws_secret_access_key": SECRET}
    boto3.client("s3", endpoint_url=f"http://{endpoint}", region_name="us-east-1", **keys).create_bucket(Bucket=_BUCKET)
    entry = f'{{host: "{endpoint}", key: key, secret: "{SECRET}", secure: false, multipart: false}}'
    environ = {
        "MLFLOW_S3_ENDPOINT_URL": f"http://{endpoint}", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    yield Store(f"s3://{_BUCKET}/of", environ, f"s3://{endpoint}/{_BUCKET}{_BELOW}", f"aws.s3.credentials: [{entry}]")
    server.stop()


@contextlib.contextmanager
def gcs(home: Path, database: Path) -> Iterator[Store]:
    """The package gcp-storage-emulator."""
    emulator = pytest.importorskip("gcp_storage_emulator.server", reason="the package gcp-storage-emulator is missing")
    server = emulator.create_server("127.0.0.1", 0, in_memory=True, default_bucket=_BUCKET)
    server.start()
    host = f"127.0.0.1:{server._api._httpd.socket.getsockname()[1]}"
    environ = {"STORAGE_EMULATOR_HOST": f"http://{host}", "GOOGLE_CLOUD_PROJECT": "test"}
    yield Store(f"gs://{_BUCKET}/of", environ, f"gs://{_BUCKET}{_BELOW}", 'google.storage.project: "test"')
    server.stop()


@contextlib.contextmanager
def azure(home: Path, database: Path) -> Iterator[Store]:
    """Azurite, from npm, which has the name of a real account by way of a proxy and of a certificate."""
    pytest.importorskip("azure.storage.blob")
    command = os.environ.get("AZURITE") or shutil.which("azurite-blob")
    if not command:
        pytest.skip("no azurite-blob on the path (`npm install azurite`; AZURITE names the program elsewhere)")
    host = f"{_ACCOUNT}.blob.core.windows.net"
    authority = Authority(home)
    certificate, key = authority.sign(host)
    with hold() as held:
        port = held.getsockname()[1]
        line = [
            command, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence", "--silent",
            "--skipApiVersionCheck", "--cert", str(certificate), "--key", str(key),
        ]  # fmt: skip
        process = subprocess.Popen(line, cwd=home, stdout=subprocess.DEVNULL)
        try:
            wait_for(lambda: _listens(port))
            with ConnectProxy(("127.0.0.1", port)) as proxy:
                environ = {
                    "AZURE_STORAGE_ACCESS_KEY": _AZURE_KEY, "HTTPS_PROXY": proxy.url, "NO_PROXY": "127.0.0.1,localhost",
                    "REQUESTS_CA_BUNDLE": str(authority.bundle),
                }  # fmt: skip
                _make_container(host, environ)
                entry = f'{{account_name: {_ACCOUNT}, account_key: "{_AZURE_KEY}", container_name: {_BUCKET}}}'
                root = f"wasbs://{_BUCKET}@{host}/of"
                yield Store(root, environ, f"azure://{host}/{_BUCKET}{_BELOW}", f"azure.storage.containers: [{entry}]")
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def sftp(home: Path, database: Path) -> Iterator[Store]:
    """A server of paramiko's, whose key MLflow's client finds in the user's `known_hosts`; people read it by MLflow."""
    pytest.importorskip("pysftp", reason="pysftp is missing, or does not load with this paramiko", exc_type=ImportError)
    from tests.stores.sftp_server import SFTPServer

    folder = home / "sftp"
    folder.mkdir()
    (home / ".ssh").mkdir()
    with SFTPServer(folder) as server:
        (home / ".ssh" / "known_hosts").write_text(server.known_host)
        allowed = {"MLFLOW_ALLOWED_HOST_ADDRESSED_ARTIFACT_SCHEMES": "sftp"}  # wanted by 3.17
        with _mlflow_server(home, database, HOME=str(home), **allowed) as url:
            link = f"{url}/get-artifact?path={{quoted}}&run_uuid={{run_id}}"
            yield Store(f"{server.url}/of", {}, link, uri=url)


@contextlib.contextmanager
def plug_in(home: Path, database: Path) -> Iterator[Store]:
    """A store with a custom scheme that only MLflow knows."""
    environ = {"PYTHONPATH": str(install(home / "plug-ins")), TOKEN: SECRET}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(environ["PYTHONPATH"])
        registry = import_module("mlflow.store.artifact.artifact_repository_registry")._artifact_repository_registry
        patch.setitem(registry._registry, "vault", import_module("team_plug_in").Store)
        root = f"vault://safe{home}/of"
        yield Store(root, environ, f"{root}/{{run_id}}/artifacts/{{path}}", is_read=False)


@contextlib.contextmanager
def multipart(home: Path, database: Path) -> Iterator[Store]:
    """A server that proxies S3, and lets clients send and fetch parts of files there."""
    with s3(home, database) as behind:
        reached = {**behind.environ, "AWS_ENDPOINT_URL": behind.environ["MLFLOW_S3_ENDPOINT_URL"]}
        with _mlflow_server(home, database, "--artifacts-destination", f"s3://{_BUCKET}", **reached) as url:
            variables = ("UPLOAD", "DOWNLOAD")
            environ = {f"MLFLOW_ENABLE_PROXY_MULTIPART_{name}": "true" for name in variables}
            environ |= {f"MLFLOW_MULTIPART_{name}_MINIMUM_FILE_SIZE": "1" for name in variables}
            environ |= {f"MLFLOW_MULTIPART_{name}_CHUNK_SIZE": str(5 * 2**20) for name in variables}
            link = f"{url}/api/2.0/mlflow-artifacts/artifacts/of/{{run_id}}/artifacts/{{quoted}}"
            yield Store("mlflow-artifacts:/of", environ, link, uri=url)


STORES: dict[str, Callable[[Path, Path], contextlib.AbstractContextManager[Store]]] = {
    store.__name__: store for store in (s3, gcs, azure, sftp, plug_in, multipart)
}


@contextlib.contextmanager
def _mlflow_server(home: Path, database: Path, *options: str, **environ: str) -> Iterator[str]:
    folder = home / "mlflow"
    folder.mkdir()
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "w"):
        yield start_mlflow(folder, database, reading, *options, **environ)


def _make_container(host: str, environ: dict[str, str]) -> None:
    from azure.storage.blob import BlobServiceClient

    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        BlobServiceClient(f"https://{host}", credential=_AZURE_KEY).create_container(_BUCKET)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
