from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.clearml_server import ClearMLServer
from tests.clearml_server.ports import hold
from tests.conftest import WHOLE_END
from tests.empty_store import database as database
from tests.end_to_end.fork_server import ForkServer
from tests.end_to_end.fork_server import start as fork_server_of
from tests.end_to_end.harness import Place
from tests.end_to_end.processes import wait_for
from tests.end_to_end.remote import Remote, install_agent, remote_of
from tests.shared import Shared
from tests.startup.environment import Environment

_SETTINGS = ("MLFLOW_", "AUTOINSTRUMENT_")


@pytest.fixture
def whole_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts end as they would anywhere else: the tests' environment leaves the last collections out."""
    monkeypatch.setenv(WHOLE_END, "1")


@pytest.fixture(scope="session")
def server() -> Iterator[ClearMLServer]:
    """A ClearML server without faults; tests find their own Tasks by the run."""
    with ClearMLServer() as running:
        yield running


@pytest.fixture
def own_server() -> Iterator[ClearMLServer]:
    """A ClearML server of the test's own, for faults, or to count requests."""
    with ClearMLServer() as running:
        yield running


@pytest.fixture(scope="session")
def fork_server(shared: Shared, full_environment: Environment) -> Iterator[ForkServer]:
    """Runs scripts in the environment with the wheel."""
    with shared.service("fork-server", lambda descriptor: fork_server_of(full_environment, descriptor)) as folder:
        yield ForkServer(full_environment, folder)


@pytest.fixture(scope="session")
def new_place(
    database: Path | None, full_environment: Environment, fork_server: ForkServer
) -> Iterator[Callable[[ClearMLServer | None], Place]]:
    """Makes places; they are removed at the session's end."""
    places: list[Place] = []

    def new(server: ClearMLServer | None) -> Place:
        places.append(Place(server, database, full_environment.python, fork_server))
        return places[-1]

    yield new
    for place in places:
        place.clean_up()


@pytest.fixture
def place(server: ClearMLServer, new_place: Callable[[ClearMLServer | None], Place]) -> Place:
    """A place whose scripts talk to the session's server."""
    return new_place(server)


@pytest.fixture
def own_place(own_server: ClearMLServer, new_place: Callable[[ClearMLServer | None], Place]) -> Place:
    """A place whose scripts talk to the test's own server."""
    return new_place(own_server)


@pytest.fixture
def sdk_place(own_place: Place) -> Place:
    """A place where the SDK waits for none of its processes and threads.

    Its reporter process takes 12 s to close, or never ends. And the thread that looks for the repository can wait for
    `Task.init` for ever, which waits for it: each may make its own lock of the Task's file (clearml 2.1.12).
    """
    file = own_place.root / "clearml.conf"
    file.write_text("sdk { development { report_use_subprocess: false, vcs_repo_detect_async: false } }")
    own_place.environ["CLEARML_CONFIG_FILE"] = str(file)
    return own_place


@pytest.fixture(scope="session")
def mlflow_server(shared: Shared, database: Path) -> Iterator[str]:
    """The address of a real MLflow server; other processes' tests write to it, too."""

    def start(descriptor: int) -> str:
        return start_mlflow(shared.folder("mlflow-server", lambda _: None), database, descriptor)

    with shared.service("mlflow", start) as address:
        yield address


@pytest.fixture(scope="module")
def workspace_server(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Iterator[str]:
    """The address of a real MLflow server with workspaces, which a server has for all its clients or not at all."""
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "w"):
        yield start_mlflow(tmp_path_factory.mktemp("workspaces"), database, reading, "--enable-workspaces")


def start_mlflow(folder: Path, database: Path, standard_input: int, *options: str, **environ: str) -> str:
    """Start a real MLflow server that ends with its standard input, and return its address once it answers."""
    (folder / "mlflow.db").write_bytes(database.read_bytes())
    with hold() as held:
        port = held.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        server = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder),
            *options,
        ]  # fmt: skip
        subprocess.Popen(
            ["sh", "-c", '"$@" & cat; kill 0', "sh", *server],  # all of its processes end when the input is closed
            cwd=folder, stdin=standard_input, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={
                **{key: value for key, value in os.environ.items() if not key.startswith(_SETTINGS)},
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes that import MLflow (mlflow 3.17)
                **environ,
            },
        )  # fmt: skip

        def answers() -> bool:
            try:
                return requests.get(f"{url}/health", timeout=1).ok
            except requests.RequestException:
                return False

        wait_for(answers)
    return url


@pytest.fixture(scope="session")
def clearml_agent(shared: Shared) -> Path:
    """The agent's command, in a separate environment."""
    return shared.folder("agent", install_agent) / "bin" / "clearml-agent"


@pytest.fixture(scope="module")
def remote(new_place: Callable[[ClearMLServer | None], Place], clearml_agent: Path) -> Iterator[Remote]:
    """A repository, and an agent that runs what is queued; one for all tests of a module."""
    with ClearMLServer() as running, remote_of(new_place(running), running, clearml_agent) as remote:
        yield remote


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The address of an ssh server that knows one key, and the command by which Git uses that key."""
    server = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if server is None or shutil.which("git-lfs") is None:
        pytest.skip("no sshd or no git-lfs (Debian's packages openssh-server and git-lfs)")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it gives up its privileges
    for name in ("host", "deploy"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    with hold() as held:
        port = held.getsockname()[1]
    options = {
        "Port": port, "ListenAddress": "127.0.0.1", "HostKey": tmp_path / "host", "PidFile": "none", "UsePAM": "no",
        "AuthorizedKeysFile": tmp_path / "deploy.pub", "StrictModes": "no", "PasswordAuthentication": "no",
    }  # fmt: skip
    command = [server, "-D", "-e", "-f", os.devnull, *(f"-o{name}={value}" for name, value in options.items())]
    client = f"ssh -i {tmp_path / 'deploy'} -o IdentitiesOnly=yes -o StrictHostKeyChecking=no"
    client += f" -o UserKnownHostsFile={os.devnull} -o LogLevel=ERROR"
    with subprocess.Popen(command, stderr=(tmp_path / "sshd.log").open("wb")) as running:
        address = f"{getpass.getuser()}@127.0.0.1"
        probe = [*client.split(), "-p", str(port), address, "true"]
        wait_for(lambda: subprocess.run(probe, capture_output=True, check=False).returncode == 0)
        yield f"ssh://{address}:{port}", client
        running.terminate()
