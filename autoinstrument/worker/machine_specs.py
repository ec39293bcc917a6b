"""Describe the machine of a training process by the runtime properties that `Task.init` gives to its Task.

The names and the units are the SDK's (`ResourceMonitor._get_machine_specs`, `Task._set_startup_info`; clearml 2.1.12).
Everything is read in the worker, which runs on the same machine.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence

import psutil

from autoinstrument.records import ProcessStarted
from autoinstrument.worker.gpu_list import GpuSpecs

Specs = dict[str, str | int | float]


def machine_specs(process: ProcessStarted, gpus: Sequence[GpuSpecs]) -> Specs:
    """Return the runtime properties of a process's Task by name.

    Args:
        process: the training process.
        gpus: the GPUs of its machine.
    """
    specs: Specs = {
        "CLI": process.argv[0] if process.argv else "",
        "platform": sys.platform,
        "python_version": process.python,
        "python_exec": process.executable,
        "OS": platform.platform(aliased=True),
        "processor": platform.machine(),
        "cpu_cores": psutil.cpu_count() or 0,
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "hostname": platform.node(),
        "gpu_count": len(gpus),
    }
    if gpus:
        specs |= {
            "gpu_type": ", ".join(gpu.name for gpu in gpus),
            "gpu_memory": ", ".join(f"{round(gpu.memory_bytes / 2**30)}GB" for gpu in gpus),
            "gpu_driver_version": gpus[0].driver,
            "gpu_driver_cuda_version": gpus[0].cuda,
        }
    return specs
