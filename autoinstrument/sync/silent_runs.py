"""End runs whose whole machine is gone: a pod that was evicted takes training, worker and disk with it.

Nothing of that run is left to report its end. If only its process is gone, the worker ends the Task, and nothing ends
the run in MLflow: that is done here, too. Each live Task has a heartbeat, because the worker sends points or a ping at
least once a minute, and the server notes when. A follower ends a run whose heartbeat has not moved for
`AUTOINSTRUMENT_DEAD_AFTER` seconds **while the follower was watching**, by the follower's own clock. So it does not
matter whether clocks differ, whether servers were away, or whether the follower was suspended: then it watches anew.

A process that was only cut off, or stopped, finds its Task ended when it comes back, and sets both sides to running
again, see `worker.abort_watcher`. Several followers do the same work twice, with the same result.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime, timezone
from typing import Any, NamedTuple

from autoinstrument.clearml_api.tasks import DEVELOPMENT, Tasks, is_adopted
from autoinstrument.journal.liveness import why_alive
from autoinstrument.journal.run_journal import RunJournal, RunJournals
from autoinstrument.mirror.mapping.hyperparameters import PROPERTIES
from autoinstrument.mirror.mapping.links import ENDED
from autoinstrument.mirror.mapping.run_status import End, is_of_a_process, of_silence
from autoinstrument.mlflow_store.link_tags import FOLLOWED, LIVE, STATE, SYNCED, TASK_ID, is_linked, set_killed
from autoinstrument.mlflow_store.registry import Registry
from autoinstrument.mlflow_store.runs import StoredRun, find_run, running_runs
from autoinstrument.settings import Settings
from autoinstrument.sync.failures import failed
from autoinstrument.sync.selection import Outcome, Selection
from autoinstrument.sync.stored import sync_runs

_EVERY_S = 20.0
"""Seconds between two looks, which take one request to ClearML and one to MLflow, for up to 500 live runs."""
_LOOKS = 15
"""Looks, at least, before a run counts as dead."""
_ENDED = ("stopped", "failed", "completed", "closed")
_GAP_S = 150.0
"""Without a look for longer, the follower starts over: it was suspended, or both servers were away."""


class _Watched(NamedTuple):
    """A running run, and its last sign of life.

    Attributes:
        stored: the run.
        task: its Task, as `Tasks.signs_of_life` returns it; {} for a run without the agent, or one that goes on
            without it. If it has a Task, that ends as the run does.
        sign: changes as long as the run is alive.
    """

    stored: StoredRun
    task: dict[str, Any]
    sign: object


class SilentRuns:
    """The running runs that one follower watches.

    Args:
        tasks: the server.
        settings: those of the command; `dead_after_s` counts.
        experiments: names of experiments, empty for all.
        others_after_s: end runs without the agent, too, if nothing was logged to them for so many seconds.
        clock: returns seconds that only grow.
        wall_clock: returns seconds that go on while the machine is suspended.
    """

    def __init__(
        self,
        tasks: Tasks,
        settings: Settings,
        *,
        experiments: Collection[str] = (),
        others_after_s: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._tasks, self._settings, self._experiments = tasks, settings, experiments
        self._after_s, self._others_after_s = settings.dead_after_s, others_after_s
        self._clock, self._wall_clock = clock, wall_clock
        self._every_s = min(_EVERY_S, self._after_s / _LOOKS, others_after_s / _LOOKS)
        self._looked_at = self._looked_wall = -math.inf
        self._silent_since: dict[str, tuple[object, float]] = {}
        """The last sign of life of each run, and since when it is known by the clock."""

    def beside(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Yield outcomes, and between them those of runs that are ended because they were silent."""
        for outcome in outcomes:
            yield outcome
            yield from self.ended()
        yield from self.ended()

    def ended(self) -> Iterator[Outcome]:
        """Look, if that is due, and end the runs that have been silent for too long; yield their outcomes."""
        if self._every_s == math.inf or self._clock() - self._looked_at < self._every_s:
            return
        silent: list[_Watched] = []
        try:
            silent = self._silent()
        except Exception:  # of either server: the rounds of `sync` report it
            self._silent_since.clear()
        for watched in silent:
            try:
                yield from self._end(watched)
            except Exception as error:  # MLflow's store raises what its driver raises
                yield failed(watched.stored.run.run_id, watched.stored.run.run_name, error)

    # What is seen

    def _silent(self) -> list[_Watched]:
        """Look at all running runs; return those that have been silent for too long."""
        now, wall = self._clock(), self._wall_clock()
        gap_s = max(now - self._looked_at, wall - self._looked_wall)
        self._looked_at, self._looked_wall = now, wall
        before = {} if gap_s > max(_GAP_S, self._after_s / 2) else self._silent_since
        silent, seen = [], {}
        for watched in self._watched():
            run_id = watched.stored.run.run_id
            sign, since = before.get(run_id, (None, now))
            since = since if sign == watched.sign else now
            seen[run_id] = watched.sign, since
            if now - since >= (self._after_s if watched.task else self._others_after_s):
                silent.append(watched)
        self._silent_since = seen
        at_home = self._alive_here() if silent else set()
        return [watched for watched in silent if watched.stored.run.run_id not in at_home]

    def _watched(self) -> Iterator[_Watched]:
        """Yield the running runs that may be dead.

        Logging to MLflow is a sign of life, too: the training may be cut off from ClearML alone.
        """
        has_others = self._others_after_s < math.inf
        runs = list(running_runs(experiments=self._experiments, linked_only=not has_others))
        linked: dict[str, list[StoredRun]] = {}  # several runs may have adopted one Task
        for run in filter(_was_mirrored, runs):
            linked.setdefault(run.run.tags.get(TASK_ID, ""), []).append(run)
        linked.pop("", None)
        for task in self._tasks.signs_of_life(list(linked)) if linked and self._after_s < math.inf else ():
            for run in linked[task["id"]]:
                is_over = _is_complete(run) and task["status"] != "in_progress"
                if _was_left_open(task) if is_over else _may_be_ended(task):
                    yield _Watched(run, task, (task.get("last_update"), _logged(run)))
                elif is_over and has_others:
                    yield _Watched(run, {}, _logged(run))
        for stored in runs if has_others else ():
            if stored.run.tags.get(STATE) == FOLLOWED or not is_linked(stored.run.tags):
                yield _Watched(stored, {}, _logged(stored))

    def _alive_here(self) -> set[str]:
        """Return the runs of processes of this machine, and of others that share its journals, that are at work."""
        alive = set()
        for folder in RunJournals(self._settings):
            with contextlib.suppress(OSError, ValueError):  # `sync` reports a damaged one
                journal = RunJournal.load(folder)
                if why_alive(journal):
                    alive.add(journal.run.run_id)
        return alive

    # What is done

    def _end(self, watched: _Watched) -> Iterator[Outcome]:
        """End a run on both sides, and complete its Task from MLflow's store.

        The Task is ended first: its reason shows a process that comes back that no person has stopped it. If this is
        cut off, the next look goes on from there.
        """
        run, task = watched.stored.run, watched.task
        ended_ms, end = None, None
        if task:
            (now,) = self._tasks.signs_of_life([task["id"]]) or [{}]
            if now.get("last_update") != task.get("last_update"):
                return  # it has come back just now
            last = datetime.fromisoformat(str(task["last_update"])).astimezone(timezone.utc)
            host = str((task.get("runtime") or {}).get("hostname", ""))
            end = of_silence(f"{last:%Y-%m-%d %H:%M:%S} UTC", host)
            if task["status"] != "in_progress":
                end = End(task["status"], str(task.get("status_reason") or task["status"]), "")
            ended_ms = max(int(last.timestamp() * 1000), run.start_time_ms)
            self._finish(task, end)
        set_killed(run.tracking_uri, run.workspace, run.run_id, ended_ms)
        self._silent_since.pop(run.run_id, None)
        if end is None:
            yield _outcome(watched, "ended", f"nothing was logged for {self._others_after_s:g} s")
            return
        yield _outcome(watched, "ended", end.reason)
        stored = find_run(run.run_id, run.tracking_uri, run.workspace)
        registry = Registry(run.tracking_uri)
        yield from sync_runs([stored], Selection(runs=(run.run_id,)), self._settings, registry)

    def _finish(self, task: dict[str, Any], end: End) -> None:
        if task["status"] == "in_progress" and (found := self._tasks.find(task["id"], adopted=False)) is not None:
            self._tasks.finish(found, end.status, end.reason, end.message)


def _logged(stored: StoredRun) -> int:
    """Return a number that changes with what was logged; in a text NaN equals itself."""
    return hash(repr((stored.sign, stored.metrics, stored.latest)))


def _may_be_ended(task: dict[str, Any]) -> bool:
    """Return True if a Task is running, was stopped because its process was silent, or was ended by its agent.

    One that is running and that another made, a script's `Task.init` or an agent, is left to ClearML, which ends it
    after two hours: its owner would end a process that comes back, because it takes the stop for a person's. An agent
    ends a Task when its process, or the container, has ended; if the container is killed, the worker dies with it.
    """
    if task["status"] == "in_progress":
        return not is_adopted(task)
    if is_adopted(task) and DEVELOPMENT not in (task.get("system_tags") or []):
        return task["status"] in _ENDED
    reason, message = str(task.get("status_reason") or ""), str(task.get("status_message") or "")
    return task["status"] == "stopped" and is_of_a_process(reason, message)


def _was_left_open(task: dict[str, Any]) -> bool:
    """Return True if the complete Task of a run that MLflow calls RUNNING says that the run has never ended in MLflow.

    The agent saw its process die, which could not report that to MLflow any more. If the run has ended before, another
    process goes on with it, without the agent.
    """
    held = (task.get("hyperparams") or {}).get(PROPERTIES) or {}
    return task["status"] in _ENDED and ENDED not in held


def _was_mirrored(stored: StoredRun) -> bool:
    return stored.run.tags.get(STATE) in (LIVE, SYNCED)


def _is_complete(stored: StoredRun) -> bool:
    return stored.run.tags.get(STATE) == SYNCED


def _outcome(watched: _Watched, result: str, detail: str) -> Outcome:
    return Outcome(watched.stored.run.run_id, watched.stored.run.run_name, result, detail)
