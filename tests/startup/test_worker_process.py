"""The worker that a run starts is a Python process of its own; the agent must not get into it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

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


def _is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
