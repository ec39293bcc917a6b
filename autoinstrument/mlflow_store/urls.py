"""Addresses: of stores, the same in every process, and of a run's page."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes, urlsplit

from autoinstrument.scrubber import without_credentials

DEFAULT_WORKSPACE = "default"
"""MLflow's own name of the workspace that a server uses where none is named (3.10 to 3.17)."""
_WINDOWS = sys.platform == "win32"
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def absolute(uri: str) -> str:
    """Return a tracking URI that does not depend on the working directory.

    MLflow's default is relative: `sqlite:///mlflow.db` since 3.7, `./mlruns` before. `sync` runs elsewhere.
    """
    sqlite = re.fullmatch(r"(sqlite(?:\+\w+)?:///)(?!/|:memory:)([^?]+)(.*)", uri)
    if sqlite:
        return f"{sqlite[1]}{Path(sqlite[2]).absolute()}{sqlite[3]}"
    if uri.startswith("file:") and not uri.startswith("file:/"):
        return Path(uri[len("file:") :]).absolute().as_uri()
    return Path(uri).absolute().as_uri() if is_path(uri) else uri


def with_known_credentials(tracking_uri: str) -> str:
    """Return a tracking URI that was kept without credentials with those that the environment has for it."""
    given = os.environ.get("MLFLOW_TRACKING_URI", "")
    return given if given and without_credentials(given) == tracking_uri else tracking_uri


def is_path(uri: str, *, windows: bool = _WINDOWS) -> bool:
    """Return True if a URI is a path without a scheme."""
    if windows and _DRIVE.match(uri):
        return True
    return bool(uri) and ":" not in uri.split("/", 1)[0] and uri != "databricks"


def local_path(uri: str, *, windows: bool = _WINDOWS) -> str | None:
    """Return the path on this machine that an absolute URI names, None for a URI of anything else.

    On Windows `file:///C:/runs` names `C:/runs`, and `file://server/share` names `//server/share`.
    """
    parts = urlsplit(uri)
    if parts.scheme == "file":
        path = os.fsdecode(unquote_to_bytes(parts.path))
        if windows and parts.netloc:
            return f"//{parts.netloc}{path}"
        return path[1:] if windows and _DRIVE.match(path[1:]) else path
    return uri if uri.startswith("/") or (windows and _DRIVE.match(uri)) else None


def local_folder(uri: str) -> Path | None:
    """Return the folder on this machine that an artifact root names, None for any other root."""
    path = local_path(uri)
    return None if path is None else Path(path)


def local_store(tracking_uri: str) -> Path | None:
    """Return the file or folder on this machine that holds a tracking store, None for any other store."""
    sqlite = re.fullmatch(r"sqlite(?:\+\w+)?:///(?!:memory:)([^?]+).*", uri := absolute(tracking_uri))
    return Path(sqlite[1]) if sqlite else local_folder(uri)


def run_page(tracking_uri: str, experiment_id: str, run_id: str, ui: str = "", workspace: str = "") -> str:
    """Return the address of a run's page in the MLflow UI, "" if the store has no known UI.

    Args:
        tracking_uri: address of the store.
        experiment_id: id of the run's experiment.
        run_id: id of the run.
        ui: base address that is used instead of the tracking URI (`AUTOINSTRUMENT_MLFLOW_UI`).
        workspace: the run's workspace; MLflow's own links name any but the default one (3.10 to 3.17).
    """
    experiment, run = quote(experiment_id, safe=""), quote(run_id, safe="")
    scheme = urlsplit(tracking_uri).scheme
    if ui or scheme in ("http", "https"):
        base = without_credentials(ui or tracking_uri).rstrip("/")
        query = f"?workspace={quote(name, safe='')}" if (name := named(workspace)) else ""
        return f"{base}/#/experiments/{experiment}/runs/{run}{query}"
    if tracking_uri == "databricks" or scheme == "databricks":
        host = _databricks_host(tracking_uri)
        return f"{host}/ml/experiments/{experiment}/runs/{run}" if host else ""
    return ""


def named(workspace: str) -> str:
    """Return a workspace's name, "" for the default one, which MLflow's own links leave out too."""
    return "" if workspace == DEFAULT_WORKSPACE else workspace


def _databricks_host(tracking_uri: str) -> str:
    """Return the workspace's address as Databricks' own tools find it: by the variable, or by a profile in the file."""
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
