"""Where a run is found: its page in the MLflow UI, and tracking URIs that mean the same in every process."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes, urlsplit, urlunsplit

from autoinstrument.scrubber import without_credentials

_PROXY = "/api/2.0/mlflow-artifacts/artifacts"


def absolute(uri: str) -> str:
    """Return a tracking URI that does not depend on the working directory.

    MLflow's default is relative (`sqlite:///mlflow.db` since 3.7, `./mlruns` before); `sync` runs elsewhere.
    """
    sqlite = re.fullmatch(r"(sqlite(?:\+\w+)?:///)(?!/|:memory:)([^?]+)(.*)", uri)
    if sqlite:
        return f"{sqlite[1]}{Path(sqlite[2]).absolute()}{sqlite[3]}"
    if uri.startswith("file:") and not uri.startswith("file:/"):
        return Path(uri[len("file:") :]).absolute().as_uri()
    if uri and ":" not in uri.split("/", 1)[0] and uri != "databricks":
        return Path(uri).absolute().as_uri()
    return uri


def local_folder(uri: str) -> Path | None:
    """Return the folder of this machine that an artifact root means, None for any other root."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(os.fsdecode(unquote_to_bytes(parts.path)))
    return Path(uri) if uri.startswith("/") else None


def local_store(tracking_uri: str) -> Path | None:
    """Return the file or folder of this machine that a tracking store is, None for any other store."""
    sqlite = re.fullmatch(r"sqlite(?:\+\w+)?:///(?!:memory:)([^?]+).*", uri := absolute(tracking_uri))
    return Path(sqlite[1]) if sqlite else local_folder(uri)


def run_page(tracking_uri: str, experiment_id: str, run_id: str, ui: str = "") -> str:
    """Return the address of the run's page in the MLflow UI, "" where the store has no UI that is known.

    `ui` is a base address to be used instead of the tracking URI (`AUTOINSTRUMENT_MLFLOW_UI`).
    """
    experiment, run = quote(experiment_id, safe=""), quote(run_id, safe="")
    if ui:
        return f"{without_credentials(ui).rstrip('/')}/#/experiments/{experiment}/runs/{run}"
    scheme = urlsplit(tracking_uri).scheme
    if scheme in ("http", "https"):
        base = without_credentials(tracking_uri).rstrip("/")
        return f"{base}/#/experiments/{experiment}/runs/{run}"
    if tracking_uri == "databricks" or scheme == "databricks":
        host = _databricks_host(tracking_uri)
        return f"{host}/ml/experiments/{experiment}/runs/{run}" if host else ""
    return ""


def openable(artifact_uri: str, tracking_uri: str, path: str = "") -> str:
    """Return where an artifact is, for a browser or for ClearML's client, without credentials.

    A root that MLflow's server proxies has its HTTP endpoint (`mlflow-artifacts:` of mlflow 2.16 to 3.17). The client
    takes `file:` and object stores' URIs as they are, without any decoding (clearml 1.16 and 2.1).

    Args:
        artifact_uri: the artifact's own URI, or that of the root below which it is.
        tracking_uri: the tracking server's, which may be the proxy.
        path: its path below the root, "" where `artifact_uri` says all.
    """
    below = f"/{path}" if path else ""
    folder = local_folder(artifact_uri)
    if folder is not None:
        return f"file://{folder}{below}"
    parts = urlsplit(without_credentials(artifact_uri))
    server = urlsplit(without_credentials(tracking_uri))
    if parts.scheme == "mlflow-artifacts" and server.scheme in ("http", "https"):
        base = server.path.rstrip("/") + _PROXY + "/" + _quoted(parts.path.strip("/"))
        parts = parts._replace(scheme=server.scheme, netloc=parts.netloc or server.netloc, path=base)
    name = _quoted(below) if parts.scheme in ("http", "https") else below
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}{name}"))


def _quoted(path: str) -> str:
    """Return a path for a URL; bytes that are not UTF-8, which Python keeps as lone surrogates, are quoted as bytes."""
    try:
        return quote(path, errors="surrogateescape")
    except UnicodeEncodeError:  # surrogates that stand for no byte
        return quote(path, errors="replace")


def _databricks_host(tracking_uri: str) -> str:
    """Return the workspace's address as Databricks' own tools find it: the variable, or the profile in the file."""
    profile = urlsplit(tracking_uri).netloc.split(":")[0] if "://" in tracking_uri else ""
    host = "" if profile else os.environ.get("DATABRICKS_HOST", "")
    if not host:
        import configparser

        file = configparser.ConfigParser()
        file.read(os.environ.get("DATABRICKS_CONFIG_FILE") or os.path.expanduser("~/.databrickscfg"))  # noqa: PTH111
        section = profile or "DEFAULT"
        host = file.get(section, "host", fallback="") if section == "DEFAULT" or file.has_section(section) else ""
    if host and "://" not in host:
        host = f"https://{host}"
    return host.rstrip("/")
