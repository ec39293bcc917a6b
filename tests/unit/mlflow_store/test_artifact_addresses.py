"""Addresses of artifacts are those that browsers and ClearML open; see `tests/stores`, where the real clients do."""

from __future__ import annotations

from typing import Any

import pytest

from autoinstrument.mirror.mapping import model_fields
from autoinstrument.mlflow_store.artifact_addresses import is_same_place, of_run, openable
from autoinstrument.records import Model, RunStarted

PROXY = "/api/2.0/mlflow-artifacts/artifacts"
ENDPOINTS = ("MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


@pytest.fixture(autouse=True)
def no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENDPOINTS:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("root", "server", "path", "address"),
    [
        ("file:///srv/a%20b", "http://h", "c d.txt", "file:///srv/a b/c d.txt"),
        ("s3://user:secret@bucket/1", "", "a b", "s3://bucket/1/a b"),
        ("s3://arn:aws:s3:eu-west-1:1:accesspoint/runs/1", "", "a", "s3://arn:aws:s3:eu-west-1:1:accesspoint/runs/1/a"),
        ("r2://runs@account.r2.cloudflarestorage.com/1", "", "a", "s3://account.r2.cloudflarestorage.com:443/runs/1/a"),
        ("b2://runs@s3.eu-1.backblazeb2.com/1", "", "a", "s3://s3.eu-1.backblazeb2.com:443/runs/1/a"),
        ("gs://bucket/1", "", "a%b", "gs://bucket/1/a%b"),
        (
            "wasbs://runs@account.blob.core.windows.net/1 x", "", "a%b#c",
            "azure://account.blob.core.windows.net/runs/1 x/a%b#c",
        ),
        (
            "abfss://runs@account.dfs.core.usgovcloudapi.net/1", "", "a",
            "azure://account.blob.core.usgovcloudapi.net/runs/1/a",
        ),
        ("wasbs://no-account", "", "a", "wasbs://no-account/a"),
        ("mlflow-artifacts:/1/x", "https://u:p@h/base/", "a b", f"https://h/base{PROXY}/1/x/a%20b"),
        ("mlflow-artifacts://other/1", "https://h", "", f"https://other{PROXY}/1"),
        ("https://h/root/", "", "raw\udcff", "https://h/root/raw%FF"),
        ("sftp://user:secret@host:2222/srv/1", "", "a", "sftp://host:2222/srv/1/a"),
        ("plug-in+x://place/1", "", "a", "plug-in+x://place/1/a"),
    ],
)  # fmt: skip
def test_addresses_of_artifacts(root: str, server: str, path: str, address: str) -> None:
    assert openable(root, server, path) == address


@pytest.mark.parametrize("variable", ENDPOINTS)
@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("http://minio:9000", "s3://minio:9000/bucket/1/a"),
        ("https://key:secret@minio.example/", "s3://minio.example:443/bucket/1/a"),
        ("http://minio", "s3://minio:80/bucket/1/a"),
        ("https://[fd00::1]:9000", "s3://[fd00::1]:9000/bucket/1/a"),
        ("https://s3.eu-west-1.amazonaws.com", "s3://bucket/1/a"),
        ("not a URL", "s3://bucket/1/a"),
        ("", "s3://bucket/1/a"),
    ],
)
def test_an_endpoint_of_s3_is_part_of_the_address(
    monkeypatch: pytest.MonkeyPatch, variable: str, endpoint: str, address: str
) -> None:
    """ClearML's client and pages would look for the bucket at AWS."""
    monkeypatch.setenv(variable, endpoint)
    assert openable("s3://bucket/1", "", "a") == address


def test_mlflows_own_variable_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(ENDPOINTS):
        monkeypatch.setenv(name, f"http://host-{number}:9000")
    assert openable("s3://bucket", "") == "s3://host-0:9000/bucket"


@pytest.mark.parametrize(
    ("held", "wanted", "is_same"),
    [
        ("s3://b/k", "s3://b/k", True),
        ("s3://h:9000/b/k", "s3://b/k", True),  # the person who compares has not set the endpoint
        ("s3://b/k", "s3://h:9000/b/k", False),  # the link leads to AWS
        ("s3://h:9000/b/k", "s3://other:9000/b/k", False),
        ("s3://h:9000/x/b/k", "s3://b/k", False),
        ("s3://h:9000/b/k", "s3://b/other", False),
        ("gs://h:9000/b/k", "gs://b/k", False),
    ],
)
def test_an_environment_without_the_endpoint_accepts_the_link(held: str, wanted: str, is_same: bool) -> None:
    assert is_same_place(held, wanted) == is_same
    fields = model_fields.wanted(a_model(wanted), "run")
    assert ("uri" in model_fields.edits({"uri": held}, fields)) != is_same


def a_model(location: str) -> Model:
    return Model(
        uri="models:/m-1", name="m", location=location, revision="", flavors=[], tags={}, versions=[], status="",
        kind="", source_run="", params={}, points=[],
    )  # fmt: skip


def stored_in(artifact_uri: str, **more: Any) -> RunStarted:
    page = "https://h/base/#/experiments/1/runs/r1"
    run = RunStarted("r1", "name", "1", "exp", "", page, artifact_uri, 1, "", {}, True, True, "")
    return run._replace(**more)


@pytest.mark.parametrize("root", ["sftp://user:pw@host/1", "hdfs://host/1", "plug-in://place/1"])
def test_stores_that_only_mlflow_knows_are_read_through_its_server(root: str) -> None:
    served = "https://h/base/get-artifact?path=a%20b/c%3F&run_uuid=r1"
    assert of_run(stored_in(root), "a b/c?") == served
    assert of_run(stored_in(root, workspace="default"), "a b/c?") == served
    assert of_run(stored_in(root, workspace="team"), "a") == openable(root, "", "a")
    assert of_run(stored_in(root, run_url=""), "a") == openable(root, "", "a")
    assert of_run(stored_in(root, run_url="https://h/ml/experiments/1/runs/r1"), "a") == openable(root, "", "a")


@pytest.mark.parametrize(
    "root", ["s3://b/1", "gs://b/1", "wasbs://c@a.blob.core.windows.net/1", "file:///srv", "https://h"]
)
def test_addresses_that_clearml_opens_are_not_read_through_mlflows_server(root: str) -> None:
    """People enter the credentials of object stores in ClearML; MLflow's server may have none."""
    assert of_run(stored_in(root), "a") == openable(root, "", "a")
