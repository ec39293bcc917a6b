"""The files in `deploy/` are valid, and what they start does what they say."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from autoinstrument.cli import main
from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, link_tags
from tests.end_to_end.processes import wait_for
from tests.startup.environment import ROOT
from tests.unit.cli.test_health import free_port
from tests.unit.cli.test_help import parse

DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
UNIT = DEPLOY / "systemd" / "autoinstrument-sync.service"
DOCKERFILE = DEPLOY / "docker" / "Dockerfile"


def entry_point() -> list[str]:
    text = DOCKERFILE.read_text()
    return [word for name in ("ENTRYPOINT", "CMD") for word in json.loads(re.findall(rf"^{name} (.*)$", text, re.M)[0])]


def documents() -> list[dict[str, Any]]:
    return [document for path in MANIFESTS for document in yaml.safe_load_all(path.read_text())]


def containers(value: Any) -> list[dict[str, Any]]:
    """Return all containers below a value of a manifest."""
    if isinstance(value, dict):
        found = value.get("containers", [])
        return [*found, *(each for name, below in value.items() if name != "containers" for each in containers(below))]
    return [each for below in value for each in containers(below)] if isinstance(value, list) else []


@pytest.mark.parametrize("version", ["1.28", "1.31", "1.34"])
def test_manifests_are_valid(version: str) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    for document in documents():
        validate.validate(document, version, strict=True)
        with pytest.raises(validate.ValidationError):
            validate.validate({**document, "unknown": 1}, version, strict=True)


def test_a_wrong_manifest_is_found() -> None:
    validate = pytest.importorskip("kubernetes_validate")
    (deployment,) = (document for document in documents() if document["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["livenessProbes"] = {}
    with pytest.raises(validate.ValidationError):
        validate.validate(deployment, "1.31", strict=True)


def test_every_command_exists() -> None:
    """The manifests, the unit and the image call commands with options that there are."""
    (unit,) = re.findall(r"^ExecStart=(.*)$", UNIT.read_text(), re.M)
    calls = [shlex.split(unit)[1:], entry_point()[1:], *(each["args"] for each in containers(documents()))]
    assert len(calls) == 4
    for call in calls:
        assert main.commands[call[0]]
        parse(list(call), (call[0],))


def test_probes_ask_for_what_is_answered() -> None:
    (follower,) = (each for each in containers(documents()) if "livenessProbe" in each)
    probes = [follower[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert [probe["path"] for probe in probes] == ["/live", "/live", "/ready"]
    assert {probe["port"] for probe in probes} == {follower["ports"][0]["name"]}
    assert follower["args"][-1] == f":{follower['ports'][0]['containerPort']}"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd")
def test_the_unit_is_valid(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/autoinstrument/bin/autoinstrument", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_entry_point_follows_until_it_is_told_to_end(place: Place, server: ClearMLServer) -> None:
    """As the image starts it, but for the port: it gets ready, completes a run, counts it, and ends on SIGTERM."""
    place.run("import mlflow; mlflow.start_run().__exit__(None, None, None)", agent=False)
    port = free_port()
    program, *words = (word.replace(":8080", f"127.0.0.1:{port}") for word in entry_point())
    command = [str(Path(sys.executable).with_name(program)), *words]
    environment = {**place.environment(agent=False), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, env=environment, cwd=place.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as follower:

        def answer(path: str) -> str:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=30) as response:
                    text: str = response.read().decode()
                    return text
            except (OSError, urllib.error.URLError):
                return ""

        try:
            wait_for(lambda: answer("ready") or follower.poll() is not None)
            assert answer("live") == "live\n"
            assert 'autoinstrument_sync_runs_total{result="synced"} 1\n' in answer("metrics")
            assert link_tags(place.the_run())["state"] == "synced"
            os.kill(follower.pid, signal.SIGTERM)
            out, err = follower.communicate(timeout=60)
        finally:
            follower.kill()
    assert (follower.returncode, "Traceback" in err) == (0, False), err
    assert out.splitlines()[-1].split() == ["synced", "1"]
