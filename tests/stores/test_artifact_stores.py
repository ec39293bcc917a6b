"""Runs whose artifacts are in stores of other machines, by MLflow's real clients: links, uploads, `sync`, `verify`."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from mlflow.tracking import MlflowClient
from mlflow.tracking._tracking_service import utils

from autoinstrument.mlflow_store.artifacts import ArtifactStore
from autoinstrument.mlflow_store.runs import find_runs

pytest.importorskip("paramiko", reason="the dependency group `stores` is not installed")
pytest.importorskip("cryptography", reason="the dependency group `stores` is not installed")

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended
from tests.end_to_end.processes import wait_for
from tests.end_to_end.test_artifacts import artifacts, in_mlflow, samples, uploaded
from tests.stores.emulators import SECRET, STORES, Store
from tests.stores.sftp_server import PASSWORD, SFTPServer

SCRIPT = """
    import io, sys
    import mlflow, numpy
    experiment = mlflow.get_experiment_by_name("there")
    mlflow.set_experiment(experiment_id=experiment.experiment_id if experiment else mlflow.create_experiment(
        "there", artifact_location=sys.argv[1]))
    with mlflow.start_run(run_name=sys.argv[2]):
        mlflow.log_text("hello", "notes/hello.txt")
        mlflow.log_text("named", "notes/Grüße, 50 + 1.txt")
        mlflow.log_image(numpy.random.default_rng(0).integers(0, 255, (9, 9, 3), dtype=numpy.uint8), "a.png")
        open("large.bin", "wb").write(bytes(range(256)) * 24_000)
        mlflow.log_artifact("large.bin", "deep/er")
"""
READ = """
    import hashlib, json, pathlib, sys
    from clearml import Task
    found = {}
    for key, artifact in Task.get_task(sys.argv[1]).artifacts.items():
        if key != "MLflow run":
            copy = pathlib.Path(artifact.get_local_copy(raise_on_error=True))
            found[key] = hashlib.sha256(copy.read_bytes()).hexdigest()
    print(json.dumps(found))
"""


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest, own_place: Place, database: Path) -> Iterator[Store]:
    with STORES[request.param](own_place.root / "user", database) as store:
        own_place.environ |= store.environ
        own_place.uri = store.uri or own_place.uri
        yield store


def test_links_are_what_clearml_opens_and_upload_copies(
    own_place: Place, own_server: ClearMLServer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in own_place.environ.items():  # for MLflow's client here
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(own_place.root / "user"))
    done = own_place.run(SCRIPT, store.root, "linked")
    assert done.code == 0, done.stderr
    assert len(done.agent_lines) == 1, done.stderr
    run = own_place.run_named("linked")
    task = ended(own_server, run.info.run_id)
    held = artifacts(task)
    assert set(held) == set(in_mlflow(own_place, run.info.run_id))
    for path, item in held.items():
        assert item["uri"] == store.link.format(run_id=run.info.run_id, path=path, quoted=quote(path))
    assert not any(secret in repr(task) for secret in (SECRET, PASSWORD, "sesame"))
    assert samples(own_server, task).keys() == {("images", "a.png", 0)}
    verified = own_place.command("verify", run.info.run_id)
    assert verified.code == 0, verified.stdout + verified.stderr
    if store.is_read:
        configuration = own_place.write("clearml-of-a-person.conf", f"sdk {{ {store.clearml} }}")
        read = own_place.run(READ, task["id"], agent=False, name="read.py", CLEARML_CONFIG_FILE=str(configuration))
        assert read.code == 0, read.stderr
        assert json.loads(read.stdout.splitlines()[-1]) == {
            path: digest(own_place, run.info.run_id, path) for path in held
        }

    own_server.close()
    done = own_place.run(SCRIPT, store.root, "copied", AUTOINSTRUMENT_ARTIFACTS="upload")
    assert done.code == 0, done.stderr
    wait_for(lambda: not own_place.workers())
    own_server.start()
    synced = own_place.command("sync", AUTOINSTRUMENT_ARTIFACTS="upload")
    assert synced.code == 0, synced.stderr
    copied = ended(own_server, own_place.run_named("copied").info.run_id)
    assert artifacts(copied).keys() == held.keys()
    for path, item in artifacts(copied).items():
        content = uploaded(own_server, item["uri"])
        assert hashlib.sha256(content).hexdigest() == item["hash"] == digest(own_place, run.info.run_id, path)


def digest(place: Place, run_id: str, path: str) -> str:
    local = place.client.download_artifacts(run_id, path, str(place.root / "tmp"))
    return hashlib.sha256(Path(local).read_bytes()).hexdigest()


def test_many_runs_of_an_sftp_store_do_not_keep_their_connections(
    tmp_path: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow opens one for each of its threads, and keeps those of a thousand runs."""
    pytest.importorskip("pysftp", reason="pysftp is missing, or does not load with this paramiko", exc_type=ImportError)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    with SFTPServer(tmp_path) as server:
        (tmp_path / ".ssh" / "known_hosts").write_text(server.known_host)
        experiment = client.create_experiment("there", f"{server.url}/of")
        counts = []
        for number in range(8):
            client.log_text(client.create_run(experiment).info.run_id, "hello", f"{number}.txt")
        utils._artifact_repos_cache.clear()
        for stored in find_runs(client.tracking_uri):
            assert len(list(ArtifactStore(stored.run).files())) == 1
            counts.append(server.connections)

        def are_few() -> bool:
            gc.collect()  # which a follower at work has now and then: they are parts of circles
            return server.connections <= 6 * counts[0]

        wait_for(are_few)
