"""Log the Tasks of the process's runs: one line each for a few runs, and a summary of the others at the end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Mapping

from autoinstrument.guard import logger
from autoinstrument.named_tuple import NamedTuple

_FEW, _WITHIN_S = 5, 600.0
"""As many lines about new Tasks are logged within that time: a loop makes hundreds of runs, a notebook one now and
then."""


class TaskLine(NamedTuple):
    """The line about a run's Task; a notebook shows it with links.

    Attributes:
        run_name: the run's name.
        task: the address of the Task's page, or its id.
        run_url: the address of the run's page, "" if it has none.
    """

    run_name: str
    task: str
    run_url: str

    def __str__(self) -> str:
        return f"run {self.run_name} is ClearML Task {self.task}" + (
            f" (MLflow: {self.run_url})" if self.run_url else ""
        )

    def _repr_html_(self) -> str:
        return f"autoinstrument: run {_link(self.run_url, self.run_name)} → {_link(self.task, 'ClearML Task')}"


class RunLog:
    """Logs each run's Task, or why it has none yet, and repeats neither."""

    def __init__(self) -> None:
        self._tasks: dict[str, str] = {}
        """Id of the Task that was logged last, by run."""
        self._lines: deque[float] = deque(maxlen=_FEW)
        """When the last lines about new Tasks were logged."""
        self._unlogged: dict[str, TaskLine] = {}
        """Lines that are left to the summary, by run."""
        self._pending: set[str] = set()
        self._reasons: dict[str, dict[str, str]] = {}
        """Why runs wait for `sync`: each reason that was logged, with the names of the runs left to the summary."""

    def has_task(self, run_id: str) -> bool:
        """Return True if the run's Task was logged, and nothing since then."""
        return run_id in self._tasks

    def is_pending(self, run_id: str) -> bool:
        """Return True if the run was reported as waiting for `sync`, and not as delivered since then."""
        return run_id in self._pending

    def linked(self, run_id: str, task_id: str, line: TaskLine) -> bool:
        """Log the line about a run's Task, now or in the summary.

        Returns:
            False if that was done before.
        """
        self._pending.discard(run_id)
        for waiting in list(self._reasons.values()):
            waiting.pop(run_id, None)
        if self._tasks.get(run_id) == task_id:
            return False
        self._tasks[run_id] = task_id
        now = time.monotonic()
        if len(self._lines) == _FEW and now - self._lines[0] < _WITHIN_S:
            self._unlogged[run_id] = line
        else:
            self._lines.append(now)
            logger().info("%s", line)
        return True

    def pending(self, runs: Mapping[str, str], reason: str) -> None:
        """Log why runs wait for `sync`: now if the reason is new, else in the summary.

        Args:
            runs: their names by id.
            reason: one line, with the remedy.
        """
        waiting = self._reasons.get(reason)
        if waiting is None:
            self._reasons[reason] = {}
            for run_id in runs:
                self._tasks.pop(run_id, None)  # if it is delivered after all, that is news
            logger().warning("%s: %s", _named(runs.values()), reason)
        else:
            waiting |= {run_id: name for run_id, name in runs.items() if run_id not in self._pending}
        self._pending.update(runs)

    def summarize(self) -> None:
        """Log what was left to the summary."""
        for reason, waiting in list(self._reasons.items()):
            if waiting:
                logger().warning("%s: %s", _named(list(waiting.values())), reason)
        lines = list(self._unlogged.values())
        self.drop_summary()
        if len(lines) > 1:
            logger().info("%d more runs have their ClearML Tasks; the last one: %s", len(lines), lines[-1])
        elif lines:
            logger().info("%s", lines[0])

    def drop_summary(self) -> None:
        """Forget what was left to the summary: it was logged, or another process logs it."""
        self._unlogged.clear()
        for waiting in list(self._reasons.values()):
            waiting.clear()


def _link(address: str, text: str) -> str:
    from html import escape  # only notebooks ask for it

    if not address.startswith(("http://", "https://")):
        return escape(f"{text} {address}".strip())
    return f'<a href="{escape(address)}" target="_blank" rel="noopener">{escape(text)}</a>'


def _named(names: Collection[str]) -> str:
    if len(names) == 1:
        return f"run {next(iter(names))}"
    shown = sorted(names)[:3]
    return f"{len(names)} runs ({', '.join(shown)}{', …' if len(names) > len(shown) else ''})"
