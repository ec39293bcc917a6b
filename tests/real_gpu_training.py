"""Train on a GPU with this package and without it, and compare: `python -m tests.real_gpu_training`.

Like `tests.real_gpus` it needs a machine with NVIDIA's driver and torch with CUDA; this package must be installed, so
that its hook runs. It takes some two minutes: the same script, in turns, two times each. All runs must have the same
losses to the last bit and hold the same memory, and nothing but the training may use the GPU: a worker with a context
of CUDA would take half a gigabyte of it. Exit code 1 if something differs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.clearml_server import ClearMLServer
from tests.real_gpus import ask, report

TRAIN = """
import json, sys, torch, mlflow
device = sys.argv[1]
torch.manual_seed(0)
torch.use_deterministic_algorithms(True)
model = torch.nn.Sequential(torch.nn.Linear(512, 2048), torch.nn.GELU(), torch.nn.Linear(2048, 512)).to(device)
optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
x, y = torch.randn(2048, 512, device=device), torch.randn(2048, 512, device=device)
loader = torch.utils.data.DataLoader(list(range(64)), num_workers=2, batch_size=8)  # forks, while CUDA is in use
losses = []
with mlflow.start_run(run_name="gpu"):
    for step in range(int(sys.argv[2])):
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        mlflow.log_metric("loss", losses[-1], step=step)
    total = sum(batch.sum().item() for batch in loader)
held = torch.cuda.max_memory_allocated() if device == "cuda" else 0
print(json.dumps({"losses": [loss.hex() for loss in losses], "total": total, "held": held}))
"""


class Training(NamedTuple):
    """One training: what it printed, its pid, and the pids that used a GPU meanwhile."""

    result: dict[str, Any]
    pid: int
    on_gpu: set[int]


def on_gpu() -> set[int]:
    """Return the processes that use a GPU, by nvidia-smi."""
    return {int(pid) for (pid,) in ask("compute-apps", "pid") if pid.isdigit()}


def trained(server: ClearMLServer, folder: Path, device: str, steps: int, enabled: bool) -> Training:
    """Train once and watch who uses the GPU."""
    environ = {
        **os.environ, **server.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "AUTOINSTRUMENT_ENABLED": str(int(enabled)), "AUTOINSTRUMENT_MONITOR": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # else cuBLAS is not deterministic
    }  # fmt: skip
    command, seen = [sys.executable, "train.py", device, str(steps)], set[int]()
    with subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            seen |= on_gpu() if device == "cuda" else set()
            time.sleep(0.2)
        assert process.stdout is not None
        printed = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"the training ended with exit code {process.returncode}")
    return Training(json.loads(printed.splitlines()[-1]), process.pid, seen)


def differences(trainings: list[Training]) -> Iterator[str]:
    """Yield how the trainings differ, and which other process was on the GPU."""
    for number, training in enumerate(trainings):
        for name, value in training.result.items():
            if value != trainings[0].result[name]:
                yield f"training {number}: {name} differ from those of the first, without this package"
        if others := training.on_gpu - {training.pid}:
            yield f"training {number}: processes {sorted(others)} use the GPU, too"


def main() -> int:
    """Train four times, compare, print the differences, and return the exit code."""
    device = sys.argv[1] if len(sys.argv) > 1 else "cuda"
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 400
    with ClearMLServer() as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "train.py").write_text(TRAIN)
        before = on_gpu() if device == "cuda" else set()
        trainings = [trained(server, folder, device, steps, bool(turn % 2)) for turn in range(4)]
        found = [*differences([one._replace(on_gpu=one.on_gpu - before) for one in trainings])]
        if [task["status"] for task in server.tasks] != ["completed"] * 2:
            found.append(f"{len(server.tasks)} Tasks, not two completed ones: is this package installed?")
    return report(found)


if __name__ == "__main__":
    sys.exit(main())
