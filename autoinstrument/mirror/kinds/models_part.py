"""One run's models on their way to ClearML: their state, and their points."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from autoinstrument.clearml_api.errors import FilesUnavailableError
from autoinstrument.clearml_api.tasks import Task
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.kind import RunPart
from autoinstrument.mirror.kinds.model_writer import ModelWriter
from autoinstrument.records import ModelMetricsLogged, ModelPoint, ModelsLogged, Record

_POINT = 200
"""Bytes of a point that waits, as in `transport.budget`."""


class ModelsPart(RunPart):
    """Takes the state of all models, of which the last one counts, and single points of them."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._writer = ModelWriter(context)
        self._known: ModelsLogged | None = None
        self._sent: tuple[ModelsLogged, str] | None = None
        """The models that were sent last, and the id of their Task."""
        self._points: dict[str, list[ModelPoint]] = {}
        """Points that wait, by the model's URI."""
        self._may_hold_models: bool | None = None
        """True if the Task may have models, None while that is not known."""
        self._has_ended = self._is_exact = False

    # Data

    def take(self, record: Record) -> None:
        """Remember the run's models, and points of their metrics."""
        if isinstance(record, ModelsLogged):
            self._known = record
        elif isinstance(record, ModelMetricsLogged):
            self._points.setdefault(record.uri, []).extend(record.points)

    def take_held(self, task: Mapping[str, Any]) -> None:
        """Note whether the Task has models, and what it says of their versions."""
        self._may_hold_models = bool((task.get("models") or {}).get("output"))
        self._writer.take_held(task)

    @property
    def has_work(self) -> bool:
        """True while models or their points wait to be delivered; the points of a model wait for the model."""
        return self._must_write or any(uri in self._writer.ids for uri in self._points)

    @property
    def _must_write(self) -> bool:
        """True if models have changed; a run that has none, and had none, is not worth a request."""
        if self._known is None or (self._sent is not None and self._known == self._sent[0]):
            return False
        return bool(self._known.models) or self._sent is not None or bool(self._may_hold_models)

    @property
    def weight(self) -> int:
        """About how many bytes of memory the waiting points take."""
        return _POINT * sum(map(len, self._points.values()))

    @property
    def is_incomplete(self) -> bool:
        """True if points have come of a model that MLflow did not name, as far as the run is known here."""
        return self._has_ended and bool(self._points) and not self._points.keys() <= self._known_uris

    # Delivery

    def created(self, *, bare: bool) -> None:
        """Note that the Task has no models."""
        self.start_over()

    def found(self, task: Task, *, is_given: bool) -> None:
        """Note that the Task may have models of which nothing is known here, unless it was searched for."""
        if self._may_hold_models is None:
            self._may_hold_models = True

    def send(self, task: Task) -> None:
        """Bring the models up to what is known, then send the points that wait.

        Raises:
            FilesUnavailableError: everything was sent except copies.
            ClearMLError: the server did not take everything; calling again goes on from there.
        """
        problem: FilesUnavailableError | None = None
        known = self._known
        if known is not None and (self._must_write or (self._sent is not None and self._sent[1] != task.id)):
            write = functools.partial(self._writer.write, task, known, exact=self._is_exact)
            try:
                self._context.rejections.send_each(lambda _: write(), [known], lambda _: "models")
            except FilesUnavailableError as error:
                problem = error
            else:
                # Without points, of which there may be many: those that come later have records of their own.
                self._known = known._replace(models=[{**model, "points": []} for model in known.models])
                self._sent = self._known, task.id
        self._send_points()
        if problem is not None:
            raise problem

    def _send_points(self) -> None:
        for uri in [uri for uri in self._points if uri in self._writer.ids]:
            self._writer.send_points(self._writer.ids[uri], self._points[uri])
            del self._points[uri]

    # The run's course

    def compare_exactly(self) -> None:
        """Send points also if a model seems to have them."""
        self._is_exact = True

    def start_over(self) -> None:
        """Note that the next Task has no models."""
        self._sent, self._may_hold_models = None, False
        self._writer.start_over()

    def end(self) -> None:
        """Note that the run has ended."""
        self._has_ended = True

    def reopen(self) -> None:
        """Note that the run goes on."""
        self._has_ended = False

    def free_memory(self) -> None:
        """Forget points of models that never came."""
        self._points.clear()

    def note_store_read(self) -> None:
        """Forget points of models that MLflow's store does not have."""
        known = self._known_uris
        self._points = {uri: points for uri, points in self._points.items() if uri in known}

    @property
    def _known_uris(self) -> set[str]:
        return {model["uri"] for model in self._known.models} if self._known else set()
