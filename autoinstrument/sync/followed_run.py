"""A follower's record of one running run: its state in MLflow, the state of its Task, and the work that is due."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoinstrument.mirror.mapping.scalars import latest_scalars
from autoinstrument.mlflow_store.link_tags import FOLLOWED, LINK_TAGS, STATE, SYNCED, followed
from autoinstrument.mlflow_store.new_points import MOST, ReadPosition
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import Point
from autoinstrument.sync.failures import failed
from autoinstrument.sync.running_run import Extent, Progress
from autoinstrument.sync.selection import Outcome

_FILES_S, _QUIET_FILES_S = 10.0, 60.0
"""Seconds between two listings of a run's files: at least, if the run has changed otherwise, and at most."""
_RETRY_S, _RETRY_MOST_S = 5.0, 60.0
_ALIVE_S = 1800.0
"""A Task to which nothing was sent for so long is compared and pinged: ClearML ends a silent one after two hours."""


class FollowedRun:
    """One run; it belongs to the follower's thread.

    Attributes:
        run_id: MLflow's id.
        stored: the run as the last look has found it.
        task_id: its Task, "" until it is mirrored.
        is_made: True if this follower has made the Task.
        waits_since: time by the follower's clock since when the run is due.
        files: changes with the list of files that the Task has.
        points: new points by metric, which wait to be sent.
        read_at: time by the follower's clock when its histories were last read; 0 before.
    """

    def __init__(self, stored: StoredRun, now: float) -> None:
        """Note a run that is seen for the first time; an agent that has begun it needs some time to write its tags."""
        self.stored, self.run_id = stored, stored.run.run_id
        self.task_id = self.files = ""
        self.is_made = False
        self.read_at = 0.0
        self.points: dict[str, list[Point]] = {}
        self._is_ready = stored.run.tags.get(STATE) == FOLLOWED
        self.waits_since = now
        self._is_shown = False
        self._must_update = self._must_compare = True
        self._titled_by = ""
        self._positions: dict[str, ReadPosition] = {}
        self._seen: dict[str, Point] = {}
        """The latest point of each metric up to which all points were sent."""
        self._listed_at = self._files_at = self._alive_at = now
        self._files_pause, self._retry_pause, self._retry_at = _FILES_S, _RETRY_S, 0.0

    @property
    def link(self) -> dict[str, str]:
        """The link tags of the run, once it has a Task."""
        return {name: self.stored.run.tags[name] for name in LINK_TAGS}

    # What is seen

    def note(self, stored: StoredRun, now: float) -> None:
        """Note the run as a later look has found it."""
        is_changed = stored.sign != self.stored.sign
        has_points = repr(stored.latest) != repr(self.stored.latest)  # NaN does not equal itself
        # A run whose Task is complete may be one that nothing will end, because its process is gone.
        is_complete = stored.run.tags.get(STATE) == SYNCED
        self._is_ready = self._is_ready or not is_complete or is_changed or has_points
        self._must_update_since(now, is_changed=is_changed)
        if is_changed or has_points:
            self._files_at = min(self._files_at, self._listed_at + _FILES_S)
        self.stored = stored

    def are_files_due(self, now: float) -> bool:
        """Return True if the list of files must be read."""
        return bool(self.task_id) and now >= self._files_at

    def note_files(self, listed: str, now: float) -> None:
        """Note the listed files; those of a run without changes are listed more and more rarely."""
        is_changed = listed != self.files
        self._must_update_since(now, is_changed=is_changed)
        self._files_pause = _FILES_S if is_changed else min(2 * self._files_pause, _QUIET_FILES_S)
        self.files, self._listed_at, self._files_at = listed, now, now + self._files_pause

    def _must_update_since(self, now: float, *, is_changed: bool) -> None:
        if is_changed and not self._must_update:
            self._must_update, self.waits_since = True, now

    # Everything but new points

    def is_due(self, now: float) -> bool:
        """Return True if the Task must be brought up to the run, or does not exist yet."""
        is_wanted = self._must_update or now - self._alive_at >= _ALIVE_S
        return self._is_ready and is_wanted and self.may_try(now)

    def extent(self, now: float, *, has_task: bool) -> Extent:
        """Return what `keep_up_one` must do: a Task that it makes holds no points, which then are all new ones."""
        return Extent(histories=self._must_compare and has_task, ping=now - self._alive_at >= _ALIVE_S)

    def take(self, outcome: Outcome, progress: Progress | None, now: float) -> bool:
        """Note the result of `keep_up_one`; return True if it is news for a person."""
        is_new = not self.task_id
        if progress is not None:
            self.task_id, self._titled_by, self.files = progress.task_id, progress.titled_by, progress.files
            self.is_made = self.is_made or progress.is_made
            self._alive_at = now
            if outcome.result != "failed":  # else the detail is no address
                link, run = followed((progress.task_id, outcome.detail)), self.stored.run
                self.stored = self.stored._replace(run=run._replace(tags={**run.tags, **link}))
            if progress.is_made or progress.positions is not None:
                self._positions, self._seen = dict(progress.positions or {}), {}
                self._is_shown, self._must_compare = progress.positions is not None, False
        if outcome.result == "failed":
            self.give_up(now)
            return True
        self._must_update = self._must_compare or (progress is not None and not progress.is_whole)
        self._retry_pause = _RETRY_S
        return is_new

    def may_try(self, now: float) -> bool:
        """Return False for a while after something failed."""
        return now >= self._retry_at

    def give_up(self, now: float) -> None:
        """Note that something failed, and must be tried again later."""
        self._must_update, self._retry_at = True, now + self._retry_pause
        self._retry_pause = min(2 * self._retry_pause, _RETRY_MOST_S)

    def distrust(self, now: float) -> None:
        """Note that it is not known what the Task holds, and that all must be compared, later."""
        self._must_compare = True
        self.points.clear()
        self.give_up(now)

    def failed(self, error: Exception) -> Outcome:
        """Return the outcome of a run for which something failed."""
        return failed(self.run_id, self.stored.run.run_name, error)

    # New points

    def may_send(self, now: float) -> bool:
        """Return True if points can be sent now."""
        return bool(self.task_id) and not self._must_compare and self.may_try(now)

    def first_events(self) -> list[dict[str, Any]]:
        """Return the events of the latest points of a run of which no points were sent yet, once."""
        if self._is_shown or not self.task_id:
            return []
        self._is_shown = True
        return latest_scalars(self.task_id, self.stored.latest, self._titled_by)

    def unread(self) -> dict[str, ReadPosition]:
        """Return the metrics whose new points must be read, and from where; take the points that need no reading.

        A latest point needs none if it is at the step of the last one, or at the next: there are no others to draw.
        """
        self.points.clear()
        unread = {}
        for point in self.stored.latest:
            key, step = point[0], point[3]
            if repr(point) == repr(self._seen.get(key)):
                continue
            position = self._positions.get(key, ReadPosition())
            if position.last is not None and position.last[3] <= step <= position.last[3] + 1:
                self.points[key] = [point] if repr(point) != repr(position.last) else []
            else:
                unread[key] = position
        return unread

    def begin_reading(self, now: float) -> None:
        """Note that histories are read now."""
        self.read_at = now

    def read(self, points: Mapping[str, list[Point]]) -> None:
        """Take points that were read."""
        self.points |= points

    def events(self) -> list[dict[str, Any]]:
        """Return the events of the new points."""
        return latest_scalars(self.task_id, (point for some in self.points.values() for point in some), self._titled_by)

    def sent(self, now: float, *, is_refused: bool) -> None:
        """Note that the new points were sent; or that some were refused, so that all must be compared."""
        if is_refused:
            self.distrust(now)
        else:
            latest = {point[0]: point for point in self.stored.latest}
            self._is_shown = self._is_shown or bool(self.points)
            for key, some in self.points.items():
                self._positions[key] = self._positions.get(key, ReadPosition()).after(some)
                if len(some) < MOST // 2:  # else there may be more
                    self._seen[key] = latest[key]
            self._alive_at = now if any(self.points.values()) else self._alive_at
        self.points.clear()
