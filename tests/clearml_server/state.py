"""The state of the server, behind one lock. Documents are kept in the form in which they are answered."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timezone

from .credentials import Credentials
from .envelope import Doc, invalid_id
from .event_log import EventLog

# `fields` of a status change shows microseconds; the stored value is cut to milliseconds (README, normalisation).
_TIMES = {"status_changed", "last_update", "last_change", "started", "completed", "published", "created"}


def now() -> datetime:
    return datetime.now(timezone.utc)


def now_ms() -> int:
    return int(now().timestamp() * 1000)


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


def iso_ms(moment: datetime) -> str:
    """ISO 8601 cut to milliseconds, shown with six digits as the server does."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000).isoformat(timespec="microseconds")


def new_id() -> str:
    return uuid.uuid4().hex


@dataclass
class State:
    """The database of the double. Hold `lock` for every read and write."""

    credentials: Credentials = field(default_factory=Credentials)
    lock: threading.RLock = field(default_factory=threading.RLock)
    company: str = field(default_factory=new_id)
    company_name: str = "clearml"
    user: str = field(default_factory=new_id)
    user_name: str = "Test User"
    created: str = field(default_factory=lambda: iso_ms(now()))
    projects: dict[str, Doc] = field(default_factory=dict)
    tasks: dict[str, Doc] = field(default_factory=dict)
    enqueued_from: dict[str, str] = field(default_factory=dict)  # `enqueue_status`: no read call shows it (03d #10)
    models: dict[str, Doc] = field(default_factory=dict)
    queues: dict[str, Doc] = field(default_factory=dict)
    workers: dict[str, Doc] = field(default_factory=dict)
    events: dict[str, EventLog] = field(default_factory=dict)
    scrolls: dict[str, list[Doc]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def task(self, task_id: object) -> Doc:
        """The stored Task, for changes; 400/101 in the wording of write calls."""
        try:
            return self.tasks[str(task_id)]
        except KeyError:
            raise invalid_id("task", id=task_id, company=self.company) from None

    def task_for_reading(self, task_id: object) -> Doc:
        """The stored Task; 400/101 in the wording of read calls."""
        try:
            return self.tasks[str(task_id)]
        except KeyError:
            raise invalid_id("task", ids=f"({task_id})") from None

    def changed(self, *, update: bool = True) -> Doc:
        """The stamp that every change of a document carries; name, tags and comment do not move `last_update`."""
        stamp = iso(now())
        fields = {"last_change": stamp, "last_changed_by": self.user}
        return {**fields, "last_update": stamp} if update else fields

    def touch_project(self, project_id: str | None) -> None:
        """A change of a Task moves `last_update` of its project."""
        if project_id in self.projects:
            self.projects[project_id]["last_update"] = iso_ms(now())


def store(doc: Doc, fields: Doc) -> None:
    """Write changed fields: times cut to milliseconds, `a.b` into the nested object, null removes (never stored)."""
    for key, value in fields.items():
        target, name = doc, key
        if "." in key:
            parent, name = key.split(".", 1)
            target = doc.setdefault(parent, {})
        if value is None:
            target.pop(name, None)
        elif name in _TIMES:
            target[name] = iso_ms(datetime.fromisoformat(value))
        else:
            target[name] = value
