"""Describe a GPU, and find the GPUs that a process may see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from autoinstrument.monitor.machine import GB
from autoinstrument.named_tuple import NamedTuple

CUDA, HIP, ROCR = "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"


class Gpu(NamedTuple):
    """A GPU, or an instance of one that is divided (MIG), at one moment.

    Attributes:
        number: number of the GPU on this machine, which its instances share.
        uuid: its name as in "GPU-…".
        instance: name of the instance as in "MIG-…", "" for a whole GPU.
        is_amd: it is addressed by the variables of ROCm.
        figures: values by ClearML's names without their beginning "gpu_0_"; those that the driver does not know are
            missing.
        processes: GPU memory in GB by process id, None if the driver does not tell, or by ids of another namespace.
    """

    number: int
    uuid: str
    instance: str
    is_amd: bool
    figures: Mapping[str, float]
    processes: Mapping[int, float] | None


class GpuLibrary(Protocol):
    """A session of a driver's library.

    Attributes:
        driver: name of the kernel's driver.
        library: name of the library, for a person.
    """

    driver: str
    library: str

    def read(self, *, processes: bool) -> list[Gpu]:
        """Return all GPUs of the machine; with `processes`, also how much memory each process has.

        Raises:
            Exception: the library does not answer any more.
        """

    def close(self) -> None:
        """End the session, so that the driver may let the GPUs sleep."""


def memory_figures(used: float, total: float) -> dict[str, float]:
    """Return the figures for a GPU's memory, which is given in bytes."""
    figures = {"mem_used_gb": used / GB, "mem_free_gb": (total - used) / GB}
    return {**figures, "mem_usage": 100.0 * used / total} if total > 0 else figures


def name(number: int, figure: str) -> str:
    """Return ClearML's name for a figure of a GPU; instances are numbered through."""
    return f"gpu_{number}_{figure}"


def visible(gpus: Sequence[Gpu], variables: Mapping[str, str]) -> set[int]:
    """Return the numbers of those GPUs, in their order in `gpus`, that a process may see.

    CUDA numbers GPUs by speed unless `CUDA_DEVICE_ORDER=PCI_BUS_ID`; NVML, and therefore this function, by their place
    on the bus. On a machine with GPUs of one kind this is the same.

    Args:
        gpus: all GPUs of the machine.
        variables: those of the process: CUDA, HIP and ROCR.
    """
    amd = [number for number, gpu in enumerate(gpus) if gpu.is_amd]
    nvidia = [number for number, gpu in enumerate(gpus) if not gpu.is_amd]
    seen = _chosen(nvidia, gpus, variables.get(CUDA))
    of_rocr = _chosen(amd, gpus, variables.get(ROCR))
    # HIP counts among the GPUs that ROCr has left, and understands CUDA's variable where its own is not set.
    return {*seen, *_chosen(of_rocr, gpus, variables.get(HIP, variables.get(CUDA)))}


def _chosen(numbers: Sequence[int], gpus: Sequence[Gpu], text: str | None) -> list[int]:
    """Return those numbers that a variable's text names; all if it is not set.

    By the CUDA Programming Guide, "CUDA Environment Variables": indexes, or unique beginnings of UUIDs, separated by
    commas; what follows a name that no GPU has does not count, and a GPU that is named twice makes the list invalid.
    """
    if text is None:
        return list(numbers)
    indexes = list(dict.fromkeys(gpus[number].number for number in numbers))
    found: list[int] = []
    for word in filter(None, map(str.strip, text.split(","))):
        if word.isdecimal():
            position = int(word)
            named = [n for n in numbers if position < len(indexes) and gpus[n].number == indexes[position]]
        else:
            named = _named(word, numbers, gpus)
        if not named:
            break
        if set(named) & set(found):
            return []
        found += named
    return found


def _named(word: str, numbers: Iterable[int], gpus: Sequence[Gpu]) -> list[int]:
    """Return the GPU, with all its instances, or the one instance, whose name begins with a word."""
    gpu, slash, _ = word.removeprefix("MIG-").partition("/")
    if slash and gpu.startswith("GPU-"):  # "MIG-GPU-UUID/1/0" of drivers before 470, as NVML names the instance there
        return [number for number in numbers if gpus[number].instance == word]
    matches = [
        number
        for number in numbers
        if gpus[number].uuid.startswith(word) or (gpus[number].instance and gpus[number].instance.startswith(word))
    ]
    is_unique = len({gpus[number].uuid for number in matches}) == 1
    if word.startswith("MIG-"):
        is_unique = len(matches) == 1
    return matches if is_unique else []
