"""Faults on the way to the server, which tests switch on and off at any time."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal


@dataclass(frozen=True)
class Fault:
    """One disturbance. Its parts happen in the order of the fields.

    Args:
        endpoints: A pattern over `service.action`, `files.upload|download|delete` and `web.page`; `*` is everything.
        times: For the next so many matching requests; None until it is cleared.
        latency: Seconds to wait before anything else.
        status: Answer with this HTTP status: 403 and 500 in an API envelope (with `text` and `subcode`), any other as
            the HTML of a gateway.
        retry_after: Seconds in a Retry-After header beside `status`.
        action: `hang` until the fault is cleared or the server closes; `drop` the connection without an answer.
        containing: Only requests whose body has this text in it.
        when: Whether `status` and `action` come before the request is handled (it never takes effect) or after (it
            did, but the client cannot know).
    """

    endpoints: str = "*"
    times: int | None = None
    latency: float = 0.0
    status: int | None = None
    retry_after: float | None = None
    action: Literal["hang", "drop"] | None = None
    when: Literal["before", "after"] = "before"
    containing: str = ""
    text: str = "General error"
    subcode: int = 0


def _hits(fault: Fault, name: str, body: str) -> bool:
    return fnmatchcase(name, fault.endpoints) and fault.containing in body


@dataclass
class ActiveFault:
    """A fault, the number of requests that it still affects, and the event that releases its hung requests."""

    fault: Fault
    left: int | None
    released: threading.Event = field(default_factory=threading.Event)


class Faults:
    """The faults of one server, in the order in which they were added."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: list[ActiveFault] = []
        self._hanging: list[ActiveFault] = []

    def add(self, fault: Fault) -> Fault:
        """Switch a fault on; it is returned, to be handed to `remove`."""
        with self._lock:
            self._active.append(ActiveFault(fault, fault.times))
        return fault

    def remove(self, fault: Fault) -> None:
        """Switch one fault off and let its hung requests go on."""
        with self._lock:
            for active in [*self._active, *self._hanging]:
                if active.fault is fault:
                    active.released.set()
            self._active = [active for active in self._active if active.fault is not fault]

    def clear(self) -> None:
        """Switch all faults off and let all hung requests go on."""
        with self._lock:
            for active in [*self._active, *self._hanging]:
                active.released.set()
            self._active.clear()
            self._hanging.clear()

    def take(self, name: str, body: str = "") -> list[ActiveFault]:
        """The faults that hit this request; each is counted as used."""
        with self._lock:
            taken = [active for active in self._active if _hits(active.fault, name, body)]
            for active in taken:
                if active.left is not None:
                    active.left -= 1
                    if active.left <= 0:
                        self._active.remove(active)
                if active.fault.action == "hang" and active not in self._hanging:
                    self._hanging.append(active)
            return taken
