"""Addresses of artifacts, for a browser and for ClearML's client.

ClearML's pages and its client open `http://`, `https://`, `s3://`, `gs://` and `azure://` (and its client `file://`);
MLflow names the same places in other ways.
"""

from __future__ import annotations

import os
import re
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from autoinstrument.mlflow_store.urls import DEFAULT_WORKSPACE, local_folder
from autoinstrument.records import RunStarted
from autoinstrument.scrubber import without_credentials

_PROXY = "/api/2.0/mlflow-artifacts/artifacts"
_HTTP = ("http", "https")
_OPENED = {*_HTTP, "file", "s3", "gs", "azure"}
_ENDPOINTS = ("MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""By precedence: MLflow's own (2.16 to 3.17), and botocore's (1.31 and later)."""
_AWS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
_PORT = re.compile(r":\d+$")
_AT_ENDPOINT = re.compile(r"s3://[^/]+:\d+(?P<path>/.*)", re.S)
_AZURE_HOST = re.compile(r"(?P<account>[^.]+)\.(?:blob|dfs)\.(?P<suffix>.+)")


def of_run(run: RunStarted, path: str) -> str:
    """Return the address of a run's artifact.

    An artifact store that neither browsers nor ClearML know (`sftp:`, `hdfs:`, a plug-in's) is read through MLflow's
    server, if the run has a page there. In a workspace other than the default one, the server answers only clients that
    send its header (3.17).
    """
    address = openable(run.artifact_uri, run.tracking_uri, path)
    server, is_page, _ = run.run_url.partition("/#/")
    if is_page and urlsplit(address).scheme not in _OPENED and run.workspace in ("", DEFAULT_WORKSPACE):
        return f"{server}/get-artifact?path={_quoted(path)}&run_uuid={quote(run.run_id, safe='')}"
    return address


def openable(artifact_uri: str, tracking_uri: str, path: str = "") -> str:
    """Return the address of an artifact as ClearML writes it, without credentials.

    A root that MLflow's server proxies has an HTTP endpoint there (`mlflow-artifacts:`, mlflow 2.16 to 3.17). ClearML's
    client takes the path behind `file://`, and object stores' URIs, without any decoding (clearml 1.16 to 2.1.12).

    Args:
        artifact_uri: the artifact's own URI, or that of the root above it.
        tracking_uri: address of the tracking server, which may be the proxy.
        path: path of the artifact below the root, "" if `artifact_uri` is its own.
    """
    below = f"/{path}" if path else ""
    folder = local_folder(artifact_uri)
    if folder is not None:
        return f"file://{folder.as_posix()}{below}"
    parts = urlsplit(without_credentials(_in_object_store(artifact_uri)))
    server = urlsplit(without_credentials(tracking_uri))
    if parts.scheme == "mlflow-artifacts" and server.scheme in _HTTP:
        base = server.path.rstrip("/") + _PROXY + "/" + _quoted(parts.path.strip("/"))
        parts = parts._replace(scheme=server.scheme, netloc=parts.netloc or server.netloc, path=base)
    name = _quoted(below) if parts.scheme in _HTTP else below
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}{name}"))


def is_same_place(held: str, wanted: str) -> bool:
    """Return True if a link leads to the wanted place.

    Only an environment that names the endpoint of an S3 store knows the whole address: another one, in which a person
    compares the Task, does not doubt the endpoint that the link has.
    """
    at_endpoint = _AT_ENDPOINT.fullmatch(held)
    return held == wanted or (at_endpoint is not None and f"s3:/{at_endpoint['path']}" == wanted)


def _in_object_store(uri: str) -> str:
    """Return the URI as ClearML writes it (clearml 1.16 to 2.1.12), if it is that of an object store.

    - Stores with the protocol of S3 elsewhere than at AWS are `s3://host:port/bucket/key`; ClearML tells a host from a
      bucket by the port. MLflow reads the host from a variable, or, for Cloudflare's and Backblaze's stores, writes
      `r2://bucket@host/key` and `b2://bucket@host/key`.
    - Azure's blobs are `azure://account.blob.core.windows.net/container/path`. MLflow writes
      `wasbs://container@account.blob.core.windows.net/path`, and `abfss:` with `dfs` instead of `blob` for a data lake,
      whose files are blobs too.
    """
    parts = urlsplit(uri)
    container, _, host = parts.netloc.rpartition("@")
    if parts.scheme in ("r2", "b2") and container:
        return _at_endpoint(parts, f"https://{host}", container)
    if parts.scheme == "s3":
        endpoint = next((url for name in _ENDPOINTS if (url := os.environ.get(name))), "")
        return _at_endpoint(parts, endpoint, host)
    if parts.scheme in ("wasbs", "wasb", "abfss", "abfs") and container and (found := _AZURE_HOST.fullmatch(host)):
        host = f"{found['account']}.blob.{found['suffix']}"
        return urlunsplit(("azure", host, f"/{container}{parts.path}", "", ""))
    return uri


def _at_endpoint(parts: SplitResult, endpoint: str, bucket: str) -> str:
    """Return the URI of an object of a bucket at an S3 endpoint; none, and AWS's own, are not part of it."""
    url = urlsplit(endpoint)
    host = url.netloc.rpartition("@")[2]
    if not host or (url.hostname or "").endswith(_AWS):
        return urlunsplit(parts._replace(netloc=bucket))
    if not _PORT.search(host):
        host += ":80" if url.scheme == "http" else ":443"
    return urlunsplit(parts._replace(scheme="s3", netloc=host, path=f"/{bucket}{parts.path}"))


def _quoted(path: str) -> str:
    """Return a path for a URL; bytes that are not UTF-8, which Python keeps as lone surrogates, are quoted as bytes."""
    try:
        return quote(path, errors="surrogateescape")
    except UnicodeEncodeError:  # surrogates that stand for no byte
        return quote(path, errors="replace")
