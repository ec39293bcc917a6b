"""The GPUs that a process may see, by the rules of CUDA and ROCm."""

from __future__ import annotations

import pytest

from autoinstrument.monitor.gpus import CUDA, HIP, ROCR, Gpu, memory_figures, visible


def nvidia(number: int, instance: str = "") -> Gpu:
    return Gpu(number, f"GPU-{number}bcd-ef", instance, is_amd=False, figures={}, processes=None)


WHOLE = [nvidia(number) for number in range(4)]
DIVIDED = [nvidia(0, "MIG-aa-1"), nvidia(0, "MIG-ab-2"), nvidia(1), nvidia(2, "MIG-GPU-2bcd-ef/7/0")]
AMD = [gpu._replace(is_amd=True) for gpu in WHOLE]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (None, {0, 1, 2, 3}),
        ("", set()),
        ("2", {2}),
        ("3,1", {1, 3}),
        (" 0 , 1 ", {0, 1}),
        ("1,-1,2", {1}),  # what follows a wrong name does not count
        ("-1", set()),
        ("NoDevFiles", set()),  # SLURM, for a job without GPUs
        ("9", set()),
        ("0,9,1", {0}),
        ("1,1", set()),
        ("GPU-2bcd-ef", {2}),
        ("GPU-2", {2}),
        ("GPU-3,0", {0, 3}),
        ("GPU-", set()),  # not unique
        ("\N{ARABIC-INDIC DIGIT TWO}\udcff", set()),
    ],
)
def test_cudas_variable(text: str | None, seen: set[int]) -> None:
    assert visible(WHOLE, {} if text is None else {CUDA: text}) == seen


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("0", {0, 1}),  # the GPU with its instances
        ("1", {2}),
        ("MIG-ab-2", {1}),
        ("MIG-a", set()),
        ("GPU-0bcd", {0, 1}),
        ("MIG-GPU-2bcd-ef/7/0", {3}),
        ("MIG-GPU-2bcd-ef/9/0", set()),
    ],
)
def test_divided_gpus(text: str, seen: set[int]) -> None:
    assert visible(DIVIDED, {CUDA: text}) == seen


@pytest.mark.parametrize(
    ("variables", "seen"),
    [
        ({}, {0, 1, 2, 3}),
        ({HIP: "1"}, {1}),
        ({CUDA: "1"}, {1}),  # HIP understands it
        ({HIP: "1", CUDA: "0"}, {1}),
        ({ROCR: "2,3"}, {2, 3}),
        ({ROCR: "2,3", HIP: "1"}, {3}),  # counted among those that ROCr has left
        ({ROCR: "GPU-1", HIP: "0"}, {1}),
        ({ROCR: ""}, set()),
    ],
)
def test_rocms_variables(variables: dict[str, str], seen: set[int]) -> None:
    assert visible(AMD, variables) == seen


def test_nvidias_gpus_do_not_follow_rocms_variables() -> None:
    assert visible(WHOLE, {HIP: "", ROCR: ""}) == {0, 1, 2, 3}


def test_memory_without_a_size() -> None:
    assert memory_figures(0.0, 0.0) == {"mem_used_gb": 0.0, "mem_free_gb": 0.0}
