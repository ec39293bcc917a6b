"""An MLflow plug-in, as a third-party package registers it: headers for requests, and an artifact store."""

from __future__ import annotations

from pathlib import Path

TOKEN = "VAULT_TOKEN"

_CODE = f'''
import os
from urllib.parse import urlsplit
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.tracking.request_header.abstract_request_header_provider import RequestHeaderProvider

class Headers(RequestHeaderProvider):
    def in_context(self):
        return "{TOKEN}" in os.environ

    def request_headers(self):
        return {{"X-Team-Token": os.environ["{TOKEN}"]}}

class Store(LocalArtifactRepository):
    """A store with a custom scheme; reading its files needs a token."""

    def __init__(self, artifact_uri, *args, **kwargs):
        assert os.environ["{TOKEN}"]
        super().__init__("file://" + urlsplit(artifact_uri).path)
'''
_ENTRY_POINTS = """
[mlflow.request_header_provider]
team = team_plug_in:Headers
[mlflow.artifact_repository]
vault = team_plug_in:Store
"""


def install(folder: Path) -> Path:
    """Install the plug-in into a folder, for `PYTHONPATH`, and return that."""
    described = folder / "team_plug_in-1.0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: team-plug-in\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text(_ENTRY_POINTS)
    (folder / "team_plug_in.py").write_text(_CODE)
    return folder
