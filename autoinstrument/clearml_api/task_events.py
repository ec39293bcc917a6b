"""Send a Task's events (points, plots, debug samples, console lines) and read its curves back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from autoinstrument.clearml_api.errors import TooLargeError, understood
from autoinstrument.clearml_api.session import Session

_PAGE = 10_000
_CONSOLE_PAGE = 500
_INVALID_TASK = "Invalid task id"
MAX_POINTS = 50_000_000
"""Points of one curve that are read back, 12 bytes each; a broken server may send pages for ever."""


@understood
class TaskEvents:
    """The events of one server's Tasks."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add_events(self, events: list[dict[str, Any]]) -> set[str]:
        """Send events, which may be of several Tasks, in one batch.

        Returns:
            Ids of Tasks of which no event was taken, because they were deleted or published. The server reports that as
            a success where it has taken those of others (recorded of API 2.34).

        Raises:
            ClearMLError: none was taken, or not all good ones.
        """
        parts = self._session.add_events(events)
        problems = " ".join(problem for part in parts for problem in part.get("errors_info") or ())
        if _INVALID_TASK not in problems:
            return set()
        return {str(event["task"]) for event in events if f"{_INVALID_TASK} {event['task']}" in problems}

    def console(self, task_id: str, since_ms: int) -> Iterator[dict[str, Any]]:
        """Yield a Task's console events (`timestamp` in ms, `msg`, `worker`) that are newer than a time, by time.

        Raises:
            ClearMLError: they cannot be read.
        """
        while True:
            answer = self._session.call(
                "events.get_task_log",
                task=task_id,
                navigate_earlier=False,
                from_timestamp=since_ms,
                order="asc",
                batch_size=_CONSOLE_PAGE,
            )
            events = answer.get("events") or []
            yield from events
            if len(events) < _CONSOLE_PAGE:
                return
            since_ms = int(events[-1]["timestamp"])

    def plot_titles(self, task_id: str) -> set[str]:
        """Return the titles of a Task's plots.

        Raises:
            ClearMLError: they cannot be read.
        """
        answer = self._session.call("events.get_task_metrics", tasks=[task_id], event_type="plot")
        return {str(title) for of_task in answer.get("metrics") or [] for title in of_task["metrics"]}

    def has_http_figures(self) -> bool:
        """Return True if uploaded figures have an HTTP address, so that a plot can show them.

        Raises:
            ClearMLError: the login fails.
        """
        return self._session.login.figures_destination().startswith("http")

    def curve_points(
        self, task_id: str, title: str, series: str, *, of_model: bool = False
    ) -> Iterator[tuple[int, float]]:
        """Yield iteration and value of a curve's points, by iteration; the server keeps values as 32-bit floats.

        Args:
            task_id: id of the Task, or of the model.
            title: the curve's.
            series: the curve's.
            of_model: it is a model's curve.

        Raises:
            ClearMLError: they cannot be read.
        """
        more: dict[str, Any] = {"model_events": True} if of_model else {}
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
            more["scroll_id"] = answer["scroll_id"]
        raise TooLargeError(f"the curve {title[:100]}/{series[:100]} has over {MAX_POINTS} points, and is not read")

    def single_values(self, task_id: str, title: str) -> dict[str, float]:
        """Return the single values of a title, by name; the server reads 10,000 of a Task (API 2.20 to 2.34).

        Raises:
            ClearMLError: they cannot be read.
        """
        found = self._session.call("events.get_task_single_value_metrics", tasks=[task_id]).get("tasks") or []
        values = [value for task in found for value in task["values"] if value["metric"] == title]
        return {value["variant"]: float(value["value"]) for value in values if value["value"] is not None}
