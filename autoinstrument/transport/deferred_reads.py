"""Reads from MLflow's store that wait: one read serves many changes, and slow reads are made seldom."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

from autoinstrument.guard import guard
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.records import EventsDropped, Record

Read = Callable[[], Record | None]

_SOON_S = 0.5
_SHARE, _LONGEST_S = 20, 20.0
"""After a read that took one second, the next waits for twenty: 5 % of the time is spent reading. No read waits longer
than `_LONGEST_S`."""


class _Due(NamedTuple):
    at: float
    read: Read


class DeferredReads:
    """Reads that wait for their time, one for each run and kind of data."""

    def __init__(self) -> None:
        self._due: dict[tuple[str, str], _Due] = {}
        self._took_s: dict[str, float] = {}
        """How long the last read of each kind took; all runs of a process are in one store as a rule."""

    def note(self, run_id: str, kind: str, read: Read, wait_s: float = 0.0) -> None:
        """Note that this kind of a run's data has changed; `read` is called once for all changes until then."""
        key = (run_id, kind)
        if key not in self._due:
            wait_s = min(max(_SOON_S, wait_s, _SHARE * self._took_s.get(kind, 0.0)), _LONGEST_S)
            self._due[key] = _Due(time.monotonic() + wait_s, functools.partial(self._timed, key, read))

    def take(self, *, run_id: str = "", now: bool = False) -> list[Read]:
        """Remove and return the reads whose time has come; with `now` all of them, or all of one run."""
        now_s = time.monotonic()
        taken = []
        for key, due in list(self._due.items()):
            if (now and run_id in ("", key[0])) or due.at <= now_s:
                del self._due[key]
                taken.append(due.read)
        return taken

    def wait_s(self) -> float | None:
        """Return the seconds until the next read is due, None where there is none."""
        moments = [due.at for due in list(self._due.values())]
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _timed(self, key: tuple[str, str], read: Read) -> Record | None:
        """Read; after an error, have the data read at the run's end."""
        began = time.monotonic()
        record: Record | None = EventsDropped(key[0], 0)
        with guard(f"reading a run's {key[1]}"):
            record = read()
        self._took_s[key[1]] = time.monotonic() - began
        return record
