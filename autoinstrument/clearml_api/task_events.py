"""Send a Task's events (points, plots, debug samples, console lines) and read its curves back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from autoinstrument.clearml_api.errors import TooLargeError, understood
from autoinstrument.clearml_api.session import Session

_PAGE = 10_000
MAX_POINTS = 50_000_000
"""Points of one curve that are read back, 12 bytes each; a broken server may send pages for ever."""


@understood
class TaskEvents:
    """The events of one server's Tasks."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add_events(self, events: list[dict[str, Any]]) -> None:
        """Send events in one batch.

        Raises:
            ClearMLError: not all of them were taken.
        """
        self._session.add_events(events)

    def curve_points(self, task_id: str, title: str, series: str) -> Iterator[tuple[int, float]]:
        """Yield iteration and value of a curve's points, by iteration; the server keeps values as 32-bit floats.

        Raises:
            ClearMLError: they cannot be read.
        """
        more: dict[str, Any] = {}
        count = 0
        while count < MAX_POINTS:
            answer = self._session.call(
                "events.scalar_metrics_iter_raw",
                task=task_id,
                metric={"metric": title, "variants": [series]},
                batch_size=_PAGE,
                **more,
            )
            points = (answer.get("variants") or {}).get(series) or {"iter": [], "y": []}
            yield from zip(map(int, points["iter"]), map(float, points["y"]), strict=True)
            if not points["iter"] or not answer.get("returned") or not answer.get("scroll_id"):
                return
            count += len(points["iter"])
            more = {"scroll_id": answer["scroll_id"]}
        raise TooLargeError(f"the curve {title[:100]}/{series[:100]} has over {MAX_POINTS} points, and is not read")
