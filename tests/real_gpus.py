"""Compare the monitor's figures of NVIDIA's GPUs with those of `nvidia-smi`: `python -m tests.real_gpus`.

The tests have a library in the place of NVML, with answers from a file. This needs a machine with a driver, and takes
some seconds. With torch, a child process also takes a gigabyte of the last GPU, and is looked for there. Exit code 1 if
something differs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

from autoinstrument.monitor.gpus import Gpu, visible
from autoinstrument.monitor.nvidia import NvidiaGpus
from autoinstrument.worker.gpu_list import gpus as gpu_list

FIGURES = {
    "utilization": ("utilization.gpu", 1.0, 100.0),  # it changes from one moment to the next
    "temperature": ("temperature.gpu", 1.0, 3.0),
    "power_draw": ("power.draw", 1.0, 60.0),
    "mem_used_gb": ("memory.used", 1024.0, 1.0),  # nvidia-smi leaves out the driver's reserve, the SDK does not
    "mem_free_gb": ("memory.free", 1024.0, 1.0),
}
"""By ClearML's names: those of nvidia-smi, how many of its units make one of these, and how much they may differ."""
HOLD = "import sys, torch; x = torch.zeros(2**28, device='cuda'); print('ready', flush=True); sys.stdin.read()"


def ask(what: str, *fields: str) -> list[list[str]]:
    """Return the rows of a query of nvidia-smi."""
    command = ["nvidia-smi", f"--query-{what}={','.join(fields)}", "--format=csv,noheader,nounits"]
    answer = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout
    return [[cell.strip() for cell in line.split(",")] for line in answer.splitlines() if line.strip()]


def differences(session: NvidiaGpus) -> Iterator[str]:
    """Yield how the figures of all GPUs differ; print them."""
    fields = ["uuid", "name", "driver_version", "memory.total", *(field for field, _, _ in FIGURES.values())]
    found, rows, listed = session.read(processes=False), ask("gpu", *fields), gpu_list()
    if any(gpu.instance for gpu in found):
        print("GPUs are divided (MIG): nvidia-smi has no figures of the instances")
        return
    if len(found) != len(rows) or len(listed) != len(rows):
        yield f"{len(found)} GPUs with figures, {len(listed)} with names, {len(rows)} of nvidia-smi"
    for gpu, described, (uuid, name, driver, total, *values) in zip(found, listed, rows, strict=False):
        if (gpu.uuid, described.name, described.driver) != (uuid, name, driver):
            yield f"GPU {gpu.number}: {(gpu.uuid, described.name, described.driver)} and {(uuid, name, driver)}"
        if abs(described.memory_bytes / 2**20 - float(total)) > 1024:
            yield f"GPU {gpu.number}: {described.memory_bytes / 2**20:.0f} and {total} MiB in all"
        for (figure, (_, unit, tolerance)), text in zip(FIGURES.items(), values, strict=True):
            read = gpu.figures.get(figure)
            reported = float(text) / unit if text[:1].isdigit() else None  # "[N/A]"
            print(f"GPU {gpu.number} {figure}: {read} and {reported}")
            if (read is None) != (reported is None):
                yield f"GPU {gpu.number}: {figure} is {read} and {reported}"
            elif read is not None and reported is not None and abs(read - reported) > tolerance:
                yield f"GPU {gpu.number}: {figure} is {read:.2f} and {reported:.2f}"


def differences_of_process(session: NvidiaGpus) -> Iterator[str]:
    """Yield how a process with memory of the last GPU differs; nothing without torch."""
    number = len(session.read(processes=False)) - 1
    variables = {"CUDA_VISIBLE_DEVICES": str(number), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD], env={**os.environ, **variables}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        if child.stdout.readline() != b"ready\n":
            print("no torch with CUDA: no process was looked for")
            return
        found: list[Gpu] = session.read(processes=True)
        print(f"visible with {variables}: {sorted(visible(found, variables))}")
        if visible(found, variables) != {number}:
            yield f"{variables} shows {sorted(visible(found, variables))}"
        memory = [gpu.processes for gpu in found]
        print(f"memory by process: {memory}")
        if memory[number] is None:
            print("the driver's process ids are not those of this container: the whole GPU is reported")
        elif memory[number].get(child.pid, 0.0) < 1.0:  # type: ignore[union-attr]
            yield f"process {child.pid}, which has a gigabyte, is not among {memory[number]} on GPU {number}"
    finally:
        child.communicate()


def report(found: list[str]) -> int:
    """Print the differences, and return the exit code."""
    for line in found:
        print(f"differs: {line}")
    print("nothing differs" if not found else f"{len(found)} differences")
    return 1 if found else 0


def main() -> int:
    """Compare, print the differences, and return the exit code."""
    session = NvidiaGpus()
    try:
        found = [*differences(session), *differences_of_process(session)]
    finally:
        session.close()
    return report(found)


if __name__ == "__main__":
    sys.exit(main())
