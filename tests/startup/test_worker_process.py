"""The worker that a run starts is a Python process of its own; the agent must not get into it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from autoinstrument.transport import launch

ON = {"AUTOINSTRUMENT_ENABLED": "1"}

# Runs at the start of every interpreter of the environment, after our own start-up file ("p" comes after "a").
PROBE = """
import json, os, sys
with open(os.path.join(os.environ["RECORD"], str(os.getpid())), "w") as file:
    armed = any(type(finder).__name__ == "AfterImport" for finder in sys.meta_path)
    json.dump({"armed": armed, "switch": os.environ.get("AUTOINSTRUMENT_ENABLED")}, file)
"""

TRAIN = """
import os, mlflow
with mlflow.start_run():
    mlflow.log_metric("loss", 1.0)
print(os.getpid())
"""


def test_the_worker_is_not_instrumented_and_does_not_inherit_the_switch(full_environment, tmp_path):
    records = tmp_path / "records"
    records.mkdir()
    probe = full_environment.site_packages / "probe.py"
    start = full_environment.site_packages / "probe.pth"
    probe.write_text(PROBE)
    start.write_text("import os; os.environ.get('RECORD') and __import__('probe')\n")
    try:
        env = {
            **ON, "RECORD": str(records), "AUTOINSTRUMENT_HOME": str(tmp_path / "home"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}",
        }  # fmt: skip
        training = full_environment.run("-c", TRAIN, env=env, cwd=tmp_path).stdout.strip()
        found = {path.name: json.loads(path.read_text()) for path in records.iterdir()}
    finally:
        probe.unlink()
        start.unlink()
    assert found.pop(training) == {"armed": True, "switch": "1"}
    assert list(found.values()) == [{"armed": False, "switch": None}], "one other interpreter: the worker"
    (worker,) = found
    end = time.monotonic() + 30
    while _is_running(worker) and time.monotonic() < end:
        time.sleep(0.1)
    assert not _is_running(worker)


def test_the_worker_needs_no_working_directory(tmp_path, monkeypatch):
    """It works in `/`: relative paths mean there what they mean in the training process."""
    (tmp_path / "site").mkdir()
    (tmp_path / "clearml.conf").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["", "site", "/elsewhere"])
    given = {
        "CLEARML_CONFIG_FILE": "clearml.conf",
        "AUTOINSTRUMENT_HOME": "not made yet",
        "MLFLOW_REGISTRY_URI": "sqlite:///registry.db",
        "SSL_CERT_DIR": "/etc/ssl",
        "AWS_CONFIG_FILE": "~/aws",
        "GROUP_PATH": "no path",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    environment = launch._environment()
    assert {name: environment[name] for name in given} == {
        **given,
        "CLEARML_CONFIG_FILE": str(tmp_path / "clearml.conf"),
        "AUTOINSTRUMENT_HOME": str(tmp_path / "not made yet"),
        "MLFLOW_REGISTRY_URI": f"sqlite:///{tmp_path / 'registry.db'}",
    }
    assert launch._import_path() == [str(tmp_path / "site"), "/elsewhere"]
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setattr("sys.argv", ["train.py"])
    assert launch._import_path() == ["/elsewhere"]


def _is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
