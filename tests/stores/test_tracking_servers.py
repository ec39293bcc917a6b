"""Ways to reach an MLflow server: a run's worker and the commands go the same way as the training."""

from __future__ import annotations

import contextlib
import json
import os
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import certifi
import pytest

pytest.importorskip("cryptography", reason="the dependency group `stores` is not installed")

from tests.clearml_server import ClearMLServer
from tests.end_to_end.conftest import start_mlflow
from tests.end_to_end.harness import Place, properties
from tests.end_to_end.processes import wait_for
from tests.stores.certificates import Authority
from tests.stores.connect_proxy import ConnectProxy
from tests.stores.gateway import Gateway
from tests.stores.plug_in import TOKEN, install

SECRET = "sesame-sesame"
SCRIPT = """
    import os, sys
    import mlflow
    mlflow.set_experiment(sys.argv[1])
    with mlflow.start_run(run_name=sys.argv[2]):
        mlflow.log_param("long", "word " * 2000)
        mlflow.log_metric("loss", 0.5, step=1)
        mlflow.log_text("hello", "notes/hello.txt")
        if sys.argv[2] == "dies":
            os._exit(3)
"""


class Way(NamedTuple):
    """A way in which the training reaches the server.

    Attributes:
        uri: the tracking URI.
        environ: what its client needs.
        wrong: the same, but not as the server wants it.
        problem: a pattern of `doctor`'s problem then.
    """

    uri: str
    environ: dict[str, str]
    wrong: dict[str, str]
    problem: str = r"refuses the credentials \(401\)"


@contextlib.contextmanager
def basic_auth(home: Path, mlflow_server: str, database: Path) -> Iterator[Way]:
    """MLflow's own app, with a user who is no administrator."""
    pytest.importorskip("flask_wtf", reason="mlflow[auth] is not installed")
    import requests

    settings = home / "auth.ini"
    settings.write_text(
        f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = sqlite:///{home}/auth.db\n"
        f"admin_username = admin\nadmin_password = {SECRET}-admin\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "w"):
        environ = {"MLFLOW_AUTH_CONFIG_PATH": str(settings), "MLFLOW_FLASK_SERVER_SECRET_KEY": SECRET}
        (home / "mlflow").mkdir()
        url = start_mlflow(home / "mlflow", database, reading, "--app-name", "basic-auth", **environ)
        made = requests.post(
            f"{url}/api/2.0/mlflow/users/create", json={"username": "trainer", "password": SECRET},
            auth=("admin", f"{SECRET}-admin"), timeout=30,
        )  # fmt: skip
        made.raise_for_status()
        user = {"MLFLOW_TRACKING_USERNAME": "trainer", "MLFLOW_TRACKING_PASSWORD": SECRET}
        yield Way(url, user, {**user, "MLFLOW_TRACKING_PASSWORD": "wrong"})


@contextlib.contextmanager
def token(home: Path, mlflow_server: str, database: Path) -> Iterator[Way]:
    with Gateway(mlflow_server, lambda headers: headers.get("Authorization") == f"Bearer {SECRET}") as gateway:
        yield Way(gateway.url, {"MLFLOW_TRACKING_TOKEN": SECRET}, {"MLFLOW_TRACKING_TOKEN": "wrong"})


@contextlib.contextmanager
def header_provider(home: Path, mlflow_server: str, database: Path) -> Iterator[Way]:
    path = {"PYTHONPATH": str(install(home / "plug-ins"))}
    with Gateway(mlflow_server, lambda headers: headers.get("X-Team-Token") == SECRET) as gateway:
        yield Way(gateway.url, {**path, TOKEN: SECRET}, {**path, TOKEN: "wrong"})


@contextlib.contextmanager
def private_authority(home: Path, mlflow_server: str, database: Path) -> Iterator[Way]:
    authority = Authority(home)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*authority.sign("localhost", "127.0.0.1"))
    with Gateway(mlflow_server, tls=tls) as gateway:
        environ = {"MLFLOW_TRACKING_SERVER_CERT_PATH": str(authority.bundle)}
        yield Way(gateway.url, environ, {"MLFLOW_TRACKING_SERVER_CERT_PATH": certifi.where()}, "is not trusted here")


@contextlib.contextmanager
def client_certificate(home: Path, mlflow_server: str, database: Path) -> Iterator[Way]:
    authority = Authority(home)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.bundle))
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_cert_chain(*authority.sign("localhost", "127.0.0.1"))
    mine = home / "mine.pem"
    mine.write_bytes(b"".join(file.read_bytes() for file in authority.sign("trainer")))
    with Gateway(mlflow_server, tls=tls) as gateway:
        bundle = {"REQUESTS_CA_BUNDLE": str(authority.bundle)}
        environ = {**bundle, "MLFLOW_TRACKING_CLIENT_CERT_PATH": str(mine)}
        problem = r"wants a certificate|cannot be reached"  # a quick server closes before its reason has been read
        yield Way(gateway.url, environ, {**bundle, "MLFLOW_TRACKING_CLIENT_CERT_PATH": ""}, problem)


@contextlib.contextmanager
def proxy(home: Path, mlflow_server: str, database: Path) -> Iterator[Way]:
    """A proxy that requires a password, and is not used for ClearML's server."""
    target = mlflow_server.removeprefix("http://").partition(":")
    with ConnectProxy((target[0], int(target[2]))) as between:
        environ = {"HTTP_PROXY": between.url, "NO_PROXY": "127.0.0.1,localhost"}
        wrong = {**environ, "HTTP_PROXY": between.url.replace("sesame", "wrong")}
        yield Way("http://mlflow.example", environ, wrong, r"refuses the credentials \(407\)")
        assert set(between.asked) == {"mlflow.example"}


@contextlib.contextmanager
def path_prefix(home: Path, mlflow_server: str, database: Path) -> Iterator[Way]:
    with Gateway(mlflow_server, prefix="/team/mlflow") as gateway:
        yield Way(gateway.url, {}, {"MLFLOW_TRACKING_URI": gateway.url[:-1]}, r"is no MLflow tracking server \(404\)")


WAYS: dict[str, Callable[[Path, str, Path], contextlib.AbstractContextManager[Way]]] = {
    way.__name__: way
    for way in (basic_auth, header_provider, token, private_authority, client_certificate, proxy, path_prefix)
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, own_place: Place, mlflow_server: str, database: Path) -> Iterator[Way]:
    with WAYS[request.param](own_place.root / "user", mlflow_server, database) as way:
        own_place.uri = way.uri
        own_place.environ |= way.environ
        yield way


@pytest.mark.may_report("MlflowException|RestException")
def test_worker_and_commands_reach_the_server_as_the_training_does(
    own_place: Place, own_server: ClearMLServer, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker reads the store: for files that it uploads, and for a run whose process died."""
    own_place.environ |= {"AUTOINSTRUMENT_ARTIFACTS": "upload", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    experiment = own_place.root.name
    done = own_place.run(SCRIPT, experiment, "ends")
    assert done.code == 0, done.stderr
    assert len(done.agent_lines) == 1, done.stderr
    died = own_place.run(SCRIPT, experiment, "dies")
    assert died.code == 3, died.stderr
    wait_for(lambda: not own_place.workers())
    assert own_place.command("sync", "--experiment", experiment).code == 0
    listed = own_place.command("status", "--json", "--experiment", experiment)
    assert listed.code == 0, listed.stderr
    assert sorted(row["state"] for row in json.loads(listed.stdout)) == ["synced", "synced"], listed.stdout
    tasks = {task["name"]: task for task in own_server.tasks}
    assert {name: task["status"] for name, task in tasks.items()} == {"ends": "completed", "dies": "stopped"}
    for task in tasks.values():
        assert properties(task)["mlflow_run_url"].startswith(f"{way.uri}/#/experiments/")
        (text,) = [item for item in task["execution"]["artifacts"] if item["key"] == "notes/hello.txt"]
        assert text["uri"].startswith(own_server.files_url)
        assert SECRET not in repr(task)
    runs = [row["run_id"] for row in json.loads(listed.stdout)]
    verified = own_place.command("verify", *runs)
    assert verified.code == 0, verified.stdout + verified.stderr
    refused = own_place.command("doctor", **way.wrong)
    assert re.search(way.problem, refused.stdout), refused.stdout


ROTATED = """
    import os, pathlib, sys, time
    import mlflow
    mlflow.set_experiment(sys.argv[2])
    with mlflow.start_run(run_name="rotated") as run:
        mlflow.log_text("before", "before.txt")
        while "clearml.task_id" not in mlflow.get_run(run.info.run_id).data.tags:  # the worker has the first token
            time.sleep(0.05)
        pathlib.Path(sys.argv[1]).write_text("second")
        os.environ["MLFLOW_TRACKING_TOKEN"] = "second"
        pathlib.Path("large.bin").write_bytes(bytes(9 * 2**20))
        mlflow.log_artifact("large.bin")
        mlflow.log_metric("loss", 0.5)
"""


@pytest.mark.slow
@pytest.mark.may_report("401")
def test_files_that_an_expired_token_cannot_fetch_are_left_to_sync(
    own_place: Place, own_server: ClearMLServer, mlflow_server: str
) -> None:
    """The training renews its token, and the worker does not get the new one; nothing else of the run waits."""
    valid = own_place.root / "token"
    valid.write_text("first")

    def is_allowed(headers: Mapping[str, str]) -> bool:
        return headers.get("Authorization") == f"Bearer {valid.read_text()}"

    with Gateway(mlflow_server, is_allowed) as gateway:
        own_place.uri = gateway.url
        own_place.environ |= {"AUTOINSTRUMENT_ARTIFACTS": "upload", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
        own_place.environ["TESTS_WORKER_PATIENCE_S"] = "5"
        done = own_place.run(
            ROTATED, str(valid), own_place.root.name, MLFLOW_TRACKING_TOKEN="first", AUTOINSTRUMENT_EXIT_TIMEOUT="5"
        )
        assert done.code == 0, done.stderr
        assert "autoinstrument sync" in done.agent_lines[-1], done.stderr
        wait_for(lambda: not own_place.workers())
        (task,) = own_server.tasks
        assert task["status"] == "completed"
        assert task["last_metrics"]
        synced = own_place.command("sync", MLFLOW_TRACKING_TOKEN="second")
        assert synced.code == 0, synced.stdout + synced.stderr
        held = {item["key"]: item["uri"] for item in own_server.task(task["id"])["execution"]["artifacts"]}
        assert held.keys() == {"MLflow run", "before.txt", "large.bin"}
        assert held["large.bin"].startswith(own_server.files_url)
