"""Follow a queued Task: print its console as it comes, and return its end as an exit code."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from autoinstrument.clearml_api.errors import UnavailableError
from autoinstrument.clearml_api.tasks import Tasks

_POLL_S = 2.0
_OVERLAP_MS = 30_000
"""Lines are requested by their times, but those of several processes arrive in another order."""
_SUCCEEDED = ("completed", "published", "publishing", "closed")
_FAILED, _STOPPED = "failed", "stopped"
_ENDS = {_FAILED: "has failed", _STOPPED: "was stopped", "gone": "was deleted"}
_EXIT_CODE = re.compile(r"exit code (-?\d+)")
"""In the reason of the status that an agent sets (clearml-agent 1.5 to 3.0.3)."""


class TaskConsole:
    """What a Task has printed, each line once."""

    def __init__(self, tasks: Tasks, task_id: str) -> None:
        self._tasks, self._task_id = tasks, task_id
        self._since_ms = 0
        self._seen: Counter[tuple[int, str, str]] = Counter()

    def new(self) -> Iterator[str]:
        """Yield the texts that have arrived since the last call.

        Raises:
            ClearMLError: the server does not answer; the next call yields what is missing.
        """
        found = Counter[tuple[int, str, str]]()
        for event in self._tasks.console(self._task_id, self._since_ms):
            key = int(event["timestamp"]), str(event.get("worker", "")), str(event.get("msg", ""))
            found[key] += 1
            if found[key] > self._seen[key]:
                self._seen[key] += 1
                yield key[2]
        newest = max((time_ms for time_ms, _, _ in found), default=0)
        self._since_ms = max(self._since_ms, newest - _OVERLAP_MS)
        self._seen = Counter({key: count for key, count in self._seen.items() if key[0] > self._since_ms})


def follow(tasks: Tasks, task_id: str, write: Callable[[str], object], report: Callable[[str], object]) -> int:
    """Wait for the end of a Task, and return the exit code of its program.

    A server that does not answer is asked again.

    Args:
        tasks: the Tasks of the server.
        task_id: id of the Task.
        write: is given the text of its console.
        report: is given lines about the Task itself.

    Returns:
        0 for a Task that was completed, the exit code that the agent reports for one that failed, else 1.

    Raises:
        ClearMLError: the server refuses to answer.
    """
    console, status, was_away = TaskConsole(tasks, task_id), "queued", False
    while True:
        try:
            found = next(iter(tasks.signs_of_life([task_id])), {})
            for text in console.new() if found else ():
                write(text if text.endswith("\n") else f"{text}\n")
            was_away = False
        except UnavailableError as error:
            if not was_away:
                report(f"ClearML does not answer, and is asked again: {error}")
            was_away = True
        else:
            before, status = status, str(found.get("status") or "gone")
            if status not in ("queued", "in_progress"):
                return _exit_code(status, found, report)
            if status != before:
                report("an agent has started it" if status == "in_progress" else "it is queued again")
        time.sleep(_POLL_S)


def _exit_code(status: str, task: dict[str, Any], report: Callable[[str], object]) -> int:
    reason = str(task.get("status_reason") or task.get("status_message") or "")
    if status in _SUCCEEDED:
        return 0
    if status == "created":
        report("the Task was taken out of its queue, or reset: it does not run")
    else:
        end = _ENDS.get(status, f"is {status}")
        report(f"the Task {end}: {reason}" if reason else f"the Task {end}")
    match = _EXIT_CODE.search(reason) if status == _FAILED else None
    code = int(match[1]) if match else 1
    return 128 - code if code < 0 else code or 1
