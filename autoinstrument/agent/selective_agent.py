"""The agent where `AUTOINSTRUMENT_EXPERIMENTS` leaves runs out: they get no Task, no journal, no worker and no tag.

The name of a run's experiment decides. MLflow's calls that set, make or read an experiment show it, and to watch
them costs nothing. If it is not known, a separate thread asks the tracking store, and the run's data waits for the
answer.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from functools import partial

from autoinstrument.agent import Agent
from autoinstrument.agent.candidate import Candidate
from autoinstrument.bootstrap.explain_log import note
from autoinstrument.clone_run import start as clone_run
from autoinstrument.experiment_patterns import are_mirrored
from autoinstrument.guard import guard, logger, own_calls
from autoinstrument.mlflow_store.describe import Description
from autoinstrument.mlflow_store.left_out import is_left_out
from autoinstrument.mlflow_store.store_errors import problem_of
from autoinstrument.mlflow_store.urls import absolute
from autoinstrument.records import EventsDropped, Point, RunEnded, RunStarted
from autoinstrument.settings import Settings
from autoinstrument.transport.deferred_reads import Read
from autoinstrument.transport.deferred_records import Item

_PAUSES_S = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Pauses after which the tracking store is asked again if it does not answer."""


class SelectiveAgent(Agent):
    """An agent that tracks a run only once it is known that its experiment is mirrored."""

    def __init__(self, settings: Settings) -> None:
        # Before the rest: text on the console is reported from then on.
        self._candidates: dict[str, Candidate] = {}
        """Runs that are left out, or not decided."""
        self._open: dict[str, Candidate] = {}
        """Those that this process has begun and not ended, in the order in which they began."""
        self._chosen: set[str] = set()
        """Runs of this process that are mirrored and open."""
        self._is_mirrored: dict[tuple[str, str], bool] = {}
        """Decisions by tracking URI and id of the experiment."""
        self._asking: list[threading.Thread] = []
        self._is_over = threading.Event()
        super().__init__(settings)

    @property
    def has_begun(self) -> bool:
        return bool(self._candidates) or super().has_begun

    def note_experiment(self, tracking_uri: str, experiment_id: str, name: str) -> None:
        """Note the name of an experiment, which one of MLflow's calls has returned or set."""
        self._is_mirrored[absolute(tracking_uri), experiment_id] = are_mirrored(self.settings.experiments, name)

    # What the wrappers of MLflow's functions call

    def post(self, item: Item, run_id: str = "") -> None:
        run_id = run_id or getattr(item, "run_id", "")
        candidate = self._candidates.get(run_id)
        if candidate is not None:
            candidate.do(partial(super().post, item, run_id))
        elif not run_id and callable(item) and not self._runs:
            self._in_background(item)  # it may find a run that has a Task; the sending thread would start a worker
        else:
            super().post(item, run_id)

    def post_point(self, run_id: str, point: Point) -> bool:
        return run_id not in self._candidates and super().post_point(run_id, point)

    def post_soon(self, run_id: str, kind: str, read: Read) -> None:
        candidate = self._candidates.get(run_id)
        if candidate is not None:
            candidate.do(partial(super().post_soon, run_id, kind, read))
        else:
            super().post_soon(run_id, kind, read)

    def has_room(self, size: int) -> bool:
        return not self._asking and super().has_room(size)

    def knows(self, run_id: str) -> bool:
        return run_id in self._candidates or super().knows(run_id)

    def is_open(self, run_id: str) -> bool:
        candidate = self._candidates.get(run_id)
        return candidate.is_open if candidate is not None else super().is_open(run_id)

    def is_left_alone(self, run_id: str) -> bool:
        candidate = self._candidates.get(run_id)
        return candidate.is_left_out if candidate is not None else super().is_left_alone(run_id)

    def workspace_of(self, run_id: str) -> str:
        candidate = self._candidates.get(run_id)
        return candidate.workspace if candidate is not None else super().workspace_of(run_id)

    def latest_open_run(self) -> str:
        candidate = next((run_id for run_id, each in reversed(self._open.items()) if each.is_open), "")
        return super().latest_open_run() or candidate

    def run_started(
        self,
        run_id: str,
        make: Callable[[], RunStarted | None],
        *,
        tracking_uri: str,
        workspace: str,
        owned: bool = True,
        again: bool = False,
    ) -> None:
        candidate = self._candidates.get(run_id)
        if super().knows(run_id) or (candidate is not None and (candidate.is_open or not again)):
            super().run_started(run_id, make, tracking_uri=tracking_uri, workspace=workspace, owned=owned, again=again)
            return
        start = partial(self._start, run_id, tracking_uri=tracking_uri, workspace=workspace, owned=owned, again=again)
        is_mirrored = self._decided(make, tracking_uri)
        if is_mirrored:
            self._candidates.pop(run_id, None)
            start(make)
            return
        candidate = self._candidates[run_id] = Candidate(workspace)
        if owned:
            self._open[run_id] = candidate
        if is_mirrored is False:
            self._leave_out(run_id, candidate)
        elif not self._in_background(partial(self._ask, run_id, make, candidate, start)):
            self._give_up(run_id, candidate, "no thread can be started any more")

    def run_ended(self, ended: RunEnded) -> None:
        self._chosen.discard(ended.run_id)
        self._open.pop(ended.run_id, None)
        candidate = self._candidates.get(ended.run_id)
        if candidate is None:
            super().run_ended(ended)
        elif candidate.is_open:
            candidate.end()
            candidate.do(partial(super().run_ended, ended))

    # The decision

    def _decided(self, make: Callable[[], RunStarted | None], tracking_uri: str) -> bool | None:
        """Return whether a run is mirrored, None if its experiment's name is not known."""
        if clone_run.is_at_work():
            return True  # it belongs to the Task that a ClearML agent runs
        if not isinstance(make, Description):
            return None
        return make.is_linked or self._is_mirrored.get((absolute(tracking_uri), make.experiment_id))

    def _ask(
        self,
        run_id: str,
        make: Callable[[], RunStarted | None],
        candidate: Candidate,
        start: Callable[[Callable[[], RunStarted | None]], None],
    ) -> None:
        """Ask the tracking store about a run, and go on as its answer says."""
        for pause_s in (*_PAUSES_S, None):
            try:
                run = make()
                break
            except Exception as error:  # of MLflow's store, which raises what its driver raises
                if pause_s is None or self._is_over.wait(pause_s):
                    self._give_up(run_id, candidate, problem_of(error))
                    return
        if run is not None:
            self.note_experiment(run.tracking_uri, run.experiment_id, run.experiment_name)
        if run is None or is_left_out(run, self.settings.experiments):
            self._leave_out(run_id, candidate)
            return

        def begin() -> None:
            self._open.pop(run_id, None)
            start(lambda: run)
            if candidate.lacks_some:
                super(SelectiveAgent, self).post(EventsDropped(run_id, 0))

        candidate.choose(begin)
        self._candidates.pop(run_id, None)

    def _start(
        self,
        run_id: str,
        make: Callable[[], RunStarted | None],
        *,
        tracking_uri: str,
        workspace: str,
        owned: bool,
        again: bool,
    ) -> None:
        if owned:
            self._chosen.add(run_id)
        super().run_started(run_id, make, tracking_uri=tracking_uri, workspace=workspace, owned=owned, again=again)

    def _leave_out(self, run_id: str, candidate: Candidate) -> None:
        note("left out", run_id)
        candidate.leave_out()

    @staticmethod
    def _give_up(run_id: str, candidate: Candidate, problem: str) -> None:
        candidate.leave_out()
        logger().warning(
            "run %s has no Task, because the name of its experiment cannot be read (%s); `autoinstrument sync --run %s`"
            " makes one",
            run_id, problem, run_id,
        )  # fmt: skip

    def _in_background(self, work: Callable[[], object]) -> bool:
        """Do something on a separate thread; return False if none can be started."""

        def run() -> None:
            with own_calls(), guard("choosing runs"):
                work()
            with contextlib.suppress(ValueError):  # a fork has forgotten it
                self._asking.remove(thread)

        thread = threading.Thread(target=run, name="autoinstrument-choice", daemon=True)
        self._asking.append(thread)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is on its way out (Python 3.12)
            self._asking.remove(thread)
            return False
        return True

    # Console, fork, exit

    def _written(self, stream: str, text: str) -> None:
        """Leave out the text that is written while only runs that are left out are open."""
        candidate = None if self._chosen else next(reversed(list(self._open.values())), None)
        if candidate is None:
            super()._written(stream, text)
        else:
            candidate.do(partial(super()._written, stream, text))

    def _forked(self) -> None:
        self._asking, self._open = [], {}
        self._candidates = {run_id: each for run_id, each in self._candidates.items() if each.is_left_out}
        super()._forked()

    def finish(self) -> None:
        until = time.monotonic() + self.settings.exit_timeout_s / 2
        with contextlib.suppress(KeyboardInterrupt), guard("choosing runs"):
            self._is_over.set()
            for thread in list(self._asking):
                thread.join(max(0.0, until - time.monotonic()))
        super().finish()
