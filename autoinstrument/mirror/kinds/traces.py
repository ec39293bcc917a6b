"""A run's traces: their number and a link to their page; a table of them, histograms of scores, curves and totals.

The live feed says only that traces have changed. They are read from MLflow's store, by the process that mirrors the
run, when it has ended; of a run that no process here has begun, at most twice a minute.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autoinstrument.clearml_api.errors import RefusedError
from autoinstrument.clearml_api.tasks import Task, Tasks
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.event_batches import MAX_EVENTS
from autoinstrument.mirror.kinds.kind import Difference, Kind, RunPart, StoredData, TaskOfRun
from autoinstrument.mirror.mapping import trace_table
from autoinstrument.mirror.mapping.hyperparameters import PROPERTIES, hyperparameter, item_name
from autoinstrument.mirror.mapping.links import page
from autoinstrument.mirror.mapping.scalars import SUMMARY, same_number
from autoinstrument.mirror.rejections import REFUSED
from autoinstrument.mlflow_store.run_reader import RunReader
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.mlflow_store.store_errors import problem_of
from autoinstrument.mlflow_store.traces import read_assessments_state
from autoinstrument.records import Record, TracesChanged, TracesLogged

_NUMBER, _STATE = "mlflow_traces", "mlflow_assessments"
_NOT_COUNTED = "not counted"
"""State of a store that does not count assessments."""
TABLE = "MLflow trace table"
"""Key of the artifact with the table."""
_PAUSE_S = 30.0
"""Pause after which traces of a run are read again that no process here has begun."""
_PREVIEW = 20_000
"""Characters of the table that ClearML shows of the artifact."""


class Traces(Kind):
    """Each record from the store has all that is shown of the run's traces."""

    name = "traces"
    task_fields = ("hyperparams",)

    def part(self, context: RunContext) -> RunPart:
        """See `Kind.part`."""
        return _TracesPart(context)

    def may_be_there(self, run: StoredRun) -> bool:
        """See `Kind.may_be_there`: no run shows its traces, which the agent, too, reads at the run's end."""
        return False

    def read(self, run: RunReader) -> Iterable[StoredData]:
        """Return one record."""
        return [run.state("traces")]

    def glance(self, of: TaskOfRun) -> Iterator[Difference]:
        """Compare the number of assessments with that of the last time: people assess traces of runs that have ended.

        MLflow is asked only about runs that had traces then.
        """
        properties = of.section(PROPERTIES)
        if not of.settings.traces or properties.get(_NUMBER, "0") == "0":
            return
        if _STATE not in properties:
            yield Difference(self.name, "their table is missing")
            return
        try:
            state = read_assessments_state(of.stored.run)
        except Exception as error:  # MLflow's store raises what its driver raises; the run's sync reports it
            yield Difference(self.name, problem_of(error))
            return
        if state and state != properties[_STATE]:
            yield Difference(self.name, "their assessments have changed")

    def compare(self, of: TaskOfRun, data: Iterable[StoredData], tasks: Tasks) -> Iterator[Difference]:
        """Compare the number, the table, and the totals; a run without traces has none."""
        held = of.section(PROPERTIES).get(_NUMBER, "none")
        for logged in data:
            if not isinstance(logged, TracesLogged) or not (logged.traces or held != "none"):
                continue
            if held != _number(logged):
                yield Difference(self.name, f"{held} instead of {_number(logged)}")
            if of.settings.traces:
                yield from self._compare_table(of, logged, tasks)

    def _compare_table(self, of: TaskOfRun, logged: TracesLogged, tasks: Tasks) -> Iterator[Difference]:
        artifacts = {
            artifact.get("key"): artifact for artifact in (of.task.get("execution") or {}).get("artifacts") or []
        }
        held, task_id = artifacts.get(TABLE), str(of.task["id"])
        if of.settings.artifacts != "off" and (held or TABLE not in of.configuration(REFUSED)):
            # The links go to the address that the run had when it was mirrored; this environment may have another.
            run = of.stored.run._replace(run_url=of.section(PROPERTIES).get("mlflow_run_url", ""))
            wanted = _digest(trace_table.trace_table(logged, run).as_csv().encode())
            if held is None:
                yield Difference(self.name, "their table is missing")
            elif held.get("hash") != wanted:
                yield Difference(self.name, "their table is another")
        if of.task.get("status") == "published":  # it takes no more events
            return
        if trace_table.TITLE not in tasks.plot_titles(task_id):
            yield Difference(self.name, "the plot of their table is missing")
        try:
            values = tasks.single_values(task_id, SUMMARY)
        except RefusedError:  # the server is too old to have a call for that
            return
        for name, value in trace_table.totals(logged).items():
            if name not in values or not same_number(values[name], value):
                yield Difference(self.name, f"{name}: {values.get(name, 'missing')} instead of {value:g}")

    def facts(self, run: StoredRun, data: Iterable[StoredData]) -> Iterator[tuple[str, str]]:
        """Yield the number."""
        yield from (("traces", str(logged.traces)) for logged in data if isinstance(logged, TracesLogged))


class _TracesPart(RunPart):
    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._has_changed = self._has_ended = False
        self._next_at = 0.0
        """When traces of a run of another process may be read again, in seconds of the monotonic clock."""
        self._has_any = False
        """The Task has a number of traces, which may have become none."""
        self._waiting: TracesLogged | None = None
        self._is_shown = False
        """Only the upload of the waiting table is not done."""
        self._digest = ""
        """Hash of the table that the Task has as artifact."""

    def take(self, record: Record) -> None:
        if isinstance(record, TracesChanged):
            self._has_changed = True
        elif isinstance(record, TracesLogged):
            self._has_changed, self._next_at = False, time.monotonic() + _PAUSE_S
            if record.traces or self._has_any:
                self._waiting, self._is_shown = record, False

    def take_held(self, task: Mapping[str, Any]) -> None:
        held = (task.get("hyperparams") or {}).get(PROPERTIES) or {}
        self._has_any = _NUMBER in held

    @property
    def has_work(self) -> bool:
        return self._waiting is not None or self.awaits_store

    @property
    def awaits_store(self) -> bool:
        if not self._context.run.owned:  # it may have ended long ago, and be assessed now
            return self._has_changed and time.monotonic() >= self._next_at
        return self._has_changed and self._has_ended

    def found(self, task: Task, *, is_given: bool) -> None:
        self._digest = str((task.artifacts.get(TABLE) or {}).get("hash") or "")

    def send(self, task: Task) -> None:
        """Show the traces that were read last.

        Raises:
            FilesUnavailableError: everything was sent except the table's artifact.
            ClearMLError: the server did not take everything; it is sent again as a whole.
        """
        if (logged := self._waiting) is None:
            return
        shown = trace_table.trace_table(logged, self._context.run) if self._context.settings.traces else None
        if not self._is_shown:
            if shown is not None:
                self._send_events(task, logged, shown)
            self._write_number(task, _number(logged))
            self._is_shown = self._has_any = True
        if shown is not None:
            if self._context.settings.artifacts != "off":
                self._upload(task, shown)
            self._set_property(task, _STATE, logged.assessments or _NOT_COUNTED)  # last: without it all is sent again
        self._waiting = None

    def _send_events(self, task: Task, logged: TracesLogged, shown: trace_table.TraceTable) -> None:
        time_ms = logged.rows[-1]["time_ms"] if logged.rows else self._context.run.start_time_ms
        figures = list(trace_table.plots(task.id, logged, shown, time_ms))
        self._context.events.send_now(figures[:1])  # by itself: a request has 15 MB at most
        events = [
            *figures[1:],
            *trace_table.points(task.id, logged),
            *trace_table.single_values(task.id, logged, time_ms),
        ]
        for start in range(0, len(events), MAX_EVENTS):
            self._context.events.send_now(events[start : start + MAX_EVENTS])

    def _write_number(self, task: Task, number: str) -> None:
        self._set_property(task, _NUMBER, number)
        if address := trace_table.traces_page(self._context.run.run_url):
            link = page("MLflow traces", address, self._context.run, [["traces", number]])
            self._context.tasks.add_artifacts(task, [link])

    def _set_property(self, task: Task, name: str, value: str) -> None:
        items = [hyperparameter(PROPERTIES, name, value, "str")]
        write = functools.partial(self._context.tasks.set_hyperparameters, task)
        self._context.rejections.send_each(write, items, item_name)

    def _upload(self, task: Task, shown: trace_table.TraceTable) -> None:
        content = shown.as_csv().encode()
        if (digest := _digest(content)) == self._digest:
            return
        try:
            address = self._context.uploads.upload(task, "artifacts", f"{TABLE}.csv", content, artifact=True)
        except RefusedError as error:
            self._context.rejections.leave_out(TABLE, f"not uploaded: {error}")
            return
        entry = {
            "key": TABLE,
            "type": "pandas",  # with this, `Task.artifacts[...].get()` returns a data frame (clearml 1.16 to 2.1)
            "mode": "output",
            "uri": address,
            "content_size": len(content),
            "hash": digest,
            "timestamp": self._context.run.start_time_ms // 1000,
            "type_data": {"preview": content.decode()[:_PREVIEW], "content_type": "text/csv"},
            "display_data": [["rows", f"{len(shown.rows)} of {shown.of}"]],
        }
        add = functools.partial(self._context.tasks.add_artifacts, task)
        self._context.rejections.send_each(add, [entry], lambda _: TABLE)
        self._digest = digest

    # The run's course

    def start_over(self) -> None:
        self._digest = ""

    def end(self) -> None:
        self._has_ended = True

    def reopen(self) -> None:
        self._has_ended = False

    def note_store_read(self) -> None:
        self._has_changed = False


def _number(logged: TracesLogged) -> str:
    return f"{logged.traces}{'+' if logged.more else ''}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
