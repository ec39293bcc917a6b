"""Settings of ClearML's configuration for the figures of the machine."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any, TypeVar

from autoinstrument.named_tuple import NamedTuple

_Default = TypeVar("_Default", float, float | None)


class MonitorSettings(NamedTuple):
    """Settings of ClearML's section `sdk.development.worker`, with the SDK's defaults (clearml 1.16 to 2.1.12)."""

    first_report_s: float | None = None
    """`report_start_sec`: age of a run at its first report; a shorter run has none. None: not set."""
    wait_s: float = 180.0
    """`wait_for_first_iteration_to_start_sec`: how long the training's first iteration is waited for."""
    most_wait_s: float = 1800.0
    """`max_wait_for_first_iteration_to_start_sec`: until when a later one still counts."""
    of_machine: bool = False
    """`report_global_mem_used`: memory is that of the whole machine and the whole GPU, not that of the processes."""


def monitor_settings(configured: Callable[[str], Any]) -> MonitorSettings:
    """Return the settings.

    Args:
        configured: returns an entry of the section, None if it is not set.
    """
    defaults = MonitorSettings()
    return MonitorSettings(
        _seconds(configured("report_start_sec"), defaults.first_report_s),
        _seconds(configured("wait_for_first_iteration_to_start_sec"), defaults.wait_s),
        _seconds(configured("max_wait_for_first_iteration_to_start_sec"), defaults.most_wait_s),
        str(configured("report_global_mem_used")).lower() == "true",
    )


def _seconds(value: Any, default: _Default) -> float | _Default:
    """Return a number of seconds; what is none does not count."""
    with contextlib.suppress(TypeError, ValueError):
        if math.isfinite(seconds := float(value)) and seconds >= 0:
            return seconds
    return default
