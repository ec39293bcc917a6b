"""The agent makes the environment from the Task's requirements, autoinstrument among them: nothing is prepared."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import mlflow
import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, task_of
from tests.end_to_end.remote import Remote, remote_of

pytestmark = pytest.mark.slow

SCRIPT = """
import argparse, sys
import mlflow

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
args = parser.parse_args()
with mlflow.start_run():
    mlflow.log_param("lr", args.lr)
    mlflow.log_param("prefix", sys.prefix)
"""


def install_for_user(home: Path) -> None:
    """Install this machine's packages, except autoinstrument, as the user's there (by links, to save minutes)."""
    version = "python{}.{}".format(*sys.version_info)
    folder = home / ".local" / "lib" / version / "site-packages"
    folder.mkdir(parents=True)
    for entry in Path(mlflow.__file__).parents[1].iterdir():
        if "autoinstrument" not in entry.name and entry.suffix != ".pth" and entry.name != "__pycache__":
            (folder / entry.name).symlink_to(entry)


class Prepared:
    """A machine on which all but autoinstrument is installed, and the Task of a script that no repository holds."""

    def __init__(self, remote: Remote, task: dict[str, Any]) -> None:
        self.remote, self.task = remote, task

    def settings(self, **more: Any) -> dict[str, str]:
        """Write the agent's configuration; return the variables with which it makes the environment itself."""
        shutil.rmtree(self.remote.home / ".clearml", ignore_errors=True)  # nothing is there from another test
        packages = {"pip_version": [], "system_site_packages": True, **more}
        file = self.remote.home / "clearml.conf"
        file.write_text(json.dumps({"agent": {"python_binary": sys.executable, "package_manager": packages}}))
        return {
            "CLEARML_CONFIG_FILE": str(file),
            "CLEARML_AGENT_SKIP_PYTHON_ENV_INSTALL": "",
            "CLEARML_AGENT_SKIP_PIP_VENV_INSTALL": "",
        }

    def check(self, clone: str, variables: dict[str, str]) -> str:
        """Run a clone with `lr` 0.5 by the agent, in an environment that the agent has made; return what it printed."""
        printed = self.remote.execute(clone, **variables)
        found = self.remote.linked(clone)
        assert found, printed
        assert found[0].data.params["lr"] == "0.5"
        assert Path(found[0].data.params["prefix"]).is_relative_to(self.remote.home / ".clearml" / "venvs-builds")
        assert self.remote.server.task(clone)["status"] == "completed"
        return printed


@pytest.fixture(scope="module")
def prepared(new_place: Callable[[ClearMLServer | None], Place], clearml_agent: Path) -> Iterator[Prepared]:
    with ClearMLServer() as server:
        place = new_place(server)
        done = place.run(SCRIPT, "--lr", "0.2", MLFLOW_EXPERIMENT_NAME="alone")
        assert done.code == 0, done.stderr
        with remote_of(place, server, clearml_agent) as remote:
            install_for_user(remote.home)
            yield Prepared(remote, task_of(server, place.the_run().info.run_id))


def test_a_wheel_in_a_folder(prepared: Prepared, wheel: Path) -> None:
    """The Task notes that the package was installed from a file, so that an index or a folder must have it."""
    required = prepared.task["script"]["requirements"]["pip"]
    assert f"# autoinstrument was installed from a local file, {wheel.as_uri()}; other machines need" in required
    clone = prepared.remote.clone(prepared.task, Args__lr="0.5")
    prepared.check(clone, {**prepared.settings(), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheel.parent)})


def test_a_private_index_with_credentials(prepared: Prepared, wheel: Path) -> None:
    key = "Basic " + base64.b64encode(b"me:sesame").decode()
    asked: list[str] = []

    class Index(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_known = self.headers.get("Authorization") == key
            asked.append(self.path)
            content = {
                "/simple/autoinstrument/": f'<a href="/{wheel.name}">{wheel.name}</a>'.encode(),
                f"/{wheel.name}": wheel.read_bytes(),
            }.get(self.path)
            self.send_response(404 if content is None else 200 if is_known else 401)
            self.send_header("WWW-Authenticate", "Basic")
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            if is_known and content is not None:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as index:
        threading.Thread(target=index.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{index.server_port}"
        variables = prepared.settings(extra_index_url=[f"http://me:sesame@{address}/simple"])
        clone = prepared.remote.clone(prepared.task, Args__lr="0.5")
        printed = prepared.check(clone, {**variables, "PIP_INDEX_URL": f"http://{address}/public"})
        index.shutdown()
    assert f"/{wheel.name}" in asked, printed
    assert "sesame" not in json.dumps(prepared.remote.server.task(clone))


def test_an_environment_that_is_only_built(prepared: Prepared, wheel: Path) -> None:
    """`clearml-agent build`: code and packages of a Task in a folder, to be run by hand."""
    remote, built = prepared.remote, prepared.remote.home / "built"
    clone = remote.clone(prepared.task)
    variables = {**prepared.settings(), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheel.parent)}
    command = [remote.command, "build", "--id", clone, "--target", built]
    printed = subprocess.run(
        command, env=remote.environment(**variables), cwd=remote.home, capture_output=True, text=True, check=False
    )
    assert list(built.glob("lib/python*/site-packages/autoinstrument/__init__.py")), printed.stdout + printed.stderr
    assert (built / "code" / "train.py").read_text() == prepared.task["script"]["diff"]
