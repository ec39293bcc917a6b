"""A run's console: text is folded into lines, kept on disk, and sent together with the run's points.

The traceback of a run that has failed is part of it. If no code catches the exception, Python prints the traceback a
moment after the run's end; if none is printed, it is added.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, cast

from autoinstrument.capture.terminal import Line
from autoinstrument.clearml_api.tasks import Task
from autoinstrument.guard import logger
from autoinstrument.journal.console_file import ConsoleLine
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.journal.state_folder import exists
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.console_streams import ConsoleStreams, StreamLine
from autoinstrument.mirror.kinds.kind import CapturedKind, RunPart
from autoinstrument.mirror.kinds.printed_exceptions import PrintedExceptions
from autoinstrument.mirror.kinds.waiting_lines import WaitingLines
from autoinstrument.scrubber import hide_in_text

_LOG_LINES, _LOG_CHARACTERS = 200, 32_000
_PRINTED_S = 3.0
"""Seconds in which a traceback may be printed before it is added."""
_Method = TypeVar("_Method", bound=Callable[..., Any])


class Console(CapturedKind):
    """The journal holds it; that of an adopted Task is sent by ClearML's own SDK or agent, if there is one."""

    name = "console"

    def part(self, context: RunContext) -> ConsolePart:
        """See `Kind.part`."""
        part = ConsolePart(context.journal, context.tasks.logs_console)
        context.events.add(part)
        return part


def _locked(method: _Method) -> _Method:
    """Decorate a method of `ConsolePart` so that it holds the part's lock."""

    @functools.wraps(method)
    def locked(self: ConsolePart, *arguments: Any, **named: Any) -> Any:
        with self._lock:
            return method(self, *arguments, **named)

    return cast("_Method", locked)


class ConsolePart(RunPart):
    """The lines that the Task lacks.

    Text is taken on one thread while another one sends: what was printed must be on disk soon, however long a request
    takes.
    """

    def __init__(self, journal: RunJournal, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Take nothing yet; `is_wanted` returns True if Tasks have a console."""
        self._is_wanted = is_wanted
        self._lock = threading.RLock()
        self._is_closed = False
        self._journal = journal
        has_file = exists(journal.folder / "console.jsonl")
        # Not that of another process's run, which that process's worker sends: the folder may be the same.
        self._lines = WaitingLines(journal, self._lock, on_disk=journal.kept and has_file)
        self._streams = ConsoleStreams()
        self._sending = 0
        self._log_ms = 0
        self._warned = False
        self._printed = PrintedExceptions()
        self._is_known = not has_file
        """All lines were looked at for tracebacks; else some of them were written before."""
        self._traceback = ""
        self._traceback_at = 0.0

    @_locked
    def write(self, stream: str, text: str, time_ms: int, process: str = "") -> None:
        """Take text; it is folded into lines and kept on disk until the Task holds it."""
        self._keep(self._streams.feed(process, stream, text, time_ms))

    @_locked
    def tick(self) -> None:
        """Show progress bars that have not ended their line for a while."""
        self._keep(self._streams.due(int(time.time() * 1000)))
        if self._traceback and time.monotonic() >= self._traceback_at:
            self.finish()

    @_locked
    def process_left(self, process: str) -> None:
        """Note that one of the processes that are named in the console is gone."""
        self._keep(self._streams.leave(process, int(time.time() * 1000)))

    @_locked
    def show_traceback(self, error: str) -> None:
        """Add a traceback at the end of the console, unless it is printed by then; "" for none."""
        self._traceback, self._traceback_at = error, time.monotonic() + _PRINTED_S

    @_locked
    def finish(self) -> None:
        """Take the last line, which no newline ends, and the traceback if it was not printed."""
        now_ms = int(time.time() * 1000)
        self._keep(self._streams.flush(now_ms))
        error, self._traceback = self._traceback, ""
        if not error:
            return
        if not self._is_known and error not in self._printed:
            for _, text, _ in self._journal.console():
                self._printed.take(text)
        if error not in self._printed:
            self._keep([("stderr", Line(text, now_ms)) for text in error.splitlines()])
        if self._journal.end:
            self._journal.end["traceback"] = ""  # the console has it now

    @property
    def has_work(self) -> bool:
        """True while lines wait, or may wait on disk."""
        return self.has_events

    @property
    def has_events(self) -> bool:
        """True while lines wait, or may wait on disk."""
        return bool(self._lines)

    @property
    def has_unfinished_line(self) -> bool:
        """True while `tick` or `finish` will take a line that no newline has ended yet."""
        return self._streams.has_unfinished_line

    @property
    def awaits_traceback(self) -> bool:
        """True while a traceback may yet be printed."""
        return bool(self._traceback)

    def next_events(self, task: Task, count: int) -> list[dict[str, Any]]:
        """Return the events to send next, `count` at most; none where others send them, and where none are wanted."""
        self._lines.fetch()
        return self._events(task, count)

    @_locked
    def _events(self, task: Task, count: int) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        self._sending = 0
        while self._sending < len(self._lines) and len(events) < count:
            together = list(self._together(self._sending))
            stream, _, time_ms = together[0]
            # Lines of one millisecond would be shown in any order.
            self._log_ms = max(time_ms, self._log_ms + 1)
            text = "".join(f"{text}\n" for _, text, _ in together)
            events.append(_event(task.id, self._worker(), stream, text, self._log_ms))
            self._sending += len(together)
        return [] if (task.adopted and not self._journal.run.is_local_job) or not self._is_wanted() else events

    @_locked
    def events_sent(self) -> None:
        """Note that the Task has the first lines that wait."""
        self._note_sent(self._journal.console_sent + self._lines.drop(self._sending))
        self._sending = 0

    @_locked
    def end(self) -> None:
        """Keep on disk the lines that still come, until the Task is complete."""
        self._is_closed = False

    @_locked
    def reopen(self) -> None:
        """Note that the run goes on, and keep its console on disk again."""
        self._is_closed = False

    @_locked
    def free_memory(self) -> None:
        """Note that the Task is complete and the journal is about to go: later lines are in memory only."""
        self._is_closed = True

    @_locked
    def start_over(self) -> None:
        """Send the console from its first line on to the next Task."""
        self._note_sent(0)
        self._lines.read_again()

    @_locked
    def renew(self) -> None:
        """Write the journal again if it was removed, with the lines that it had.

        That is so if the Task was complete and the run was resumed, or if the process was taken for dead.

        Raises:
            OSError: the folder cannot be written.
        """
        if self._journal.kept and not self._journal.is_there:
            self._note_sent(0)
            self._lines.journal_is_gone()
            self._journal.save()

    @_locked
    def keep_again(self) -> None:
        """Keep on disk the lines that have come since `free_memory`, and those that still come; raises as `renew`."""
        self._is_closed = False
        self.renew()
        if held := self._lines.in_memory():
            self._lines.note_kept(kept=self._journal.add_console(held))

    def _note_sent(self, count: int) -> None:
        if count != self._journal.console_sent:
            with contextlib.suppress(OSError):  # as in `_keep`, which reports it
                self._journal.note_console_sent(count)

    def _keep(self, lines: Iterable[StreamLine]) -> None:
        new: list[ConsoleLine] = [(stream, hide_in_text(line.text), line.time_ms) for stream, line in lines]
        if not new:
            return
        for _, text, _ in new:
            self._printed.take(text)
        kept = False
        if not self._is_closed:
            try:
                self.renew()
                kept = self._journal.add_console(new)
            except OSError as error:  # the disk is full or read-only: memory holds all there is
                if not self._warned:
                    self._warned = True
                    logger().warning("run %s: the console cannot be kept on disk (%s)", self._journal.run.run_id, error)
        self._lines.add(new, kept=kept)

    def _together(self, start: int) -> Iterator[ConsoleLine]:
        """Yield the lines from `start` on that go into one event: one stream's, and not too many."""
        characters = 0
        stream = self._lines[start][0]
        for number in range(start, min(start + _LOG_LINES, len(self._lines))):
            line = self._lines[number]
            characters += len(line[1])
            if line[0] != stream or (characters > _LOG_CHARACTERS and number > start):
                return
            yield line

    def _worker(self) -> str:
        process = self._journal.process
        return f"{process.host}:{process.pid}" if process else "autoinstrument"


def _event(task_id: str, worker: str, stream: str, text: str, timestamp_ms: int) -> dict[str, Any]:
    """Return console text as an event; stderr has the level that the SDK gives it."""
    return {
        "type": "log",
        "task": task_id,
        "level": "error" if stream == "stderr" else "info",
        "worker": worker,
        "msg": text,
        "timestamp": timestamp_ms,
    }
