"""Checks of `doctor` on the GPUs whose figures the monitor reports."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from autoinstrument.cli.checks import Check
from autoinstrument.monitor.gpu_session import LIBRARIES
from autoinstrument.monitor.gpus import CUDA, HIP, ROCR, Gpu, GpuLibrary, name, visible
from autoinstrument.monitor.power_management import are_asleep

_LIMIT_S = 10.0


def gpus(environ: Mapping[str, str]) -> Check:
    """Read the GPUs once, as the monitor does; a machine without GPUs is not a problem."""
    found: list[Check] = []
    reading = threading.Thread(target=lambda: found.append(_check(environ)), daemon=True)
    reading.start()
    reading.join(_LIMIT_S)
    if not found:
        remedy = "Run `nvidia-smi` or `rocm-smi`, which will not answer either; the driver may need a restart."
        return Check("GPUs", False, f"the driver does not answer within {_LIMIT_S:.0f} s", remedy)
    return found[0]


def _check(environ: Mapping[str, str]) -> Check:
    none = "none found (NVML, ROCm)"
    for library in LIBRARIES:
        if are_asleep(library.driver):
            none = f"those of the driver {library.driver} sleep, and are not woken"
            continue
        try:
            session = library()
        except Exception:  # noqa: S112  (there is no such library, or no such driver; each has its own exceptions)
            continue
        try:
            if found := session.read(processes=True):
                return _described(library, found, environ)
        except Exception as error:  # each library has its own
            return Check("GPUs", None, f"{library.library} does not answer: {error}")
        finally:
            session.close()
    return Check("GPUs", None, none)


def _described(library: type[GpuLibrary], found: list[Gpu], environ: Mapping[str, str]) -> Check:
    numbers = sorted(visible(found, {each: environ[each] for each in (CUDA, HIP, ROCR) if each in environ}))
    series = ", ".join(name(number, "*") for number in numbers) or "none"
    names = sorted({figure for gpu in found for figure in gpu.figures})
    memory = "each process" if all(gpu.processes is not None for gpu in found) else "whole GPUs"
    detail = f"{len(found)} through {library.library}, visible here: {series}; {', '.join(names)}; memory of {memory}"
    return Check("GPUs", True, detail)
