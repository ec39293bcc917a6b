"""NVIDIA's own Python binding of NVML: the installed one, or the copy that the ClearML SDK has of it."""

from __future__ import annotations

from typing import Any


def nvml_binding() -> Any:
    """Return the module `pynvml` (the package `nvidia-ml-py`), or clearml's copy (clearml 1.16 to 2.1.12).

    Raises:
        ImportError: there is neither.
    """
    try:
        import pynvml
    except Exception:  # not installed, or another module of that name
        from clearml.utilities.gpu import pynvml
    return pynvml
