"""A run's journal: what was captured of it, and how much of its console was sent. It goes when its Task is complete.

MLflow holds params, metrics and the rest; only data that MLflow does not hold is kept here. Each run has a folder
`captures/<run id>` below `AUTOINSTRUMENT_HOME`, mode 0700, files 0600:

- `capture.json`: run and process as records, script, packages, and the run's end;
- `console.jsonl`, `console.sent`: see `journal.console_file`.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autoinstrument import atomic_file
from autoinstrument.capture.machine import machine
from autoinstrument.clone_run.lineage import lineage
from autoinstrument.clone_run.settings import written
from autoinstrument.journal import console_file
from autoinstrument.journal.console_file import ConsoleFile, ConsoleLine
from autoinstrument.journal.kept_fields import FIELDS, KeptFields
from autoinstrument.journal.state_folder import distrusted, exists, home, is_trusted, private_folder
from autoinstrument.json_shape import mismatch
from autoinstrument.mlflow_store.link_tags import TASK_ID
from autoinstrument.records import (
    InputModel,
    ProcessStarted,
    Prompt,
    RunStarted,
    from_json,
    has_right_types,
    parse,
    to_json,
)
from autoinstrument.scrubber import hide_named, without_credentials
from autoinstrument.settings import Settings

VERSION = 1
_MAX_BYTES = 256 * 2**20
_CAPTURE, _CONSOLE, _SENT = "capture.json", "console.jsonl", "console.sent"


_END = {"status", "reason", "message"}


class RunJournal:
    """One run's folder, which several threads may write to.

    Attributes:
        run, process: as the training process described them; credentials are not kept on disk.
        script: ClearML's script section.
        requirements, freeze, conda: packages, see `capture.requirements.Requirements`.
        runtime: the Task's runtime properties, which describe the machine; empty if they are not known.
        variables: environment variables that the Task shows.
        prompts, input_models: what the run was seen to use; MLflow does not hold all of it.
        settings: those of the process that began the run, as its Task has them; "" if they are not known.
        task_id, task_url: the Task, "" while there is none.
        adopted: the Task was made by the user's script or by a ClearML agent.
        console_sent: number of console lines that the Task holds.
        worker_pid: the process that will complete the Task; 0 once it has given up.
        worker_started_ms: when that process was created, see `process_identity`.
        machine: where that process and the training process run, see `capture.machine`.
        reason: why the Task is not complete, "" if nothing has gone wrong.
        kept: this process keeps the journal on disk. The journal of a run of another process is that process's.
        end: how the run ended, see `mirror.mapping.run_status`; empty while it is running.
        guessed: the end was not reported: the process is gone, and the end that MLflow's store holds counts.
        delivered: the Task holds everything; MLflow may lack the link tags.
        killed: the run's process was ended from outside, so that the run must end as KILLED in MLflow.
        steps: runs that MLflow must nest below this one: they ended before ClearML knew of it.
    """

    def __init__(self, folder: Path, run: RunStarted, process: ProcessStarted | None) -> None:
        self.folder = folder
        self.run, self.process = run, process
        self.script: dict[str, str] = {}
        self.requirements = self.freeze = self.conda = ""
        self.variables: dict[str, str] = {}
        self.runtime: dict[str, Any] = {}
        self.prompts, self.input_models = list[Prompt](), list[InputModel]()
        self.task_id, self.adopted = run.task_id, bool(run.task_id)
        self.task_url = self.settings = self.machine = self.reason = ""
        self.console_sent = 0
        self.end: dict[str, str] = {}
        self.guessed = self.delivered = self.killed = False
        self.steps: list[str] = []
        self.worker_pid = self.worker_started_ms = 0
        self.kept = run.owned
        self._console = ConsoleFile(folder / _CONSOLE)
        self._writing = threading.RLock()

    @classmethod
    def load(cls, folder: Path) -> RunJournal:
        """Read a journal; the data in it may be anything.

        Raises:
            ValueError: it is damaged, or of another version.
            OSError: it cannot be read.
        """
        path = folder / _CAPTURE
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise ValueError(f"{path} is over {_MAX_BYTES} bytes")
        value = parse(text)
        if not isinstance(value, dict) or value.get("version") != VERSION:
            raise ValueError(f"{path} is not a journal of version {VERSION}")
        try:
            journal = cls(folder, *_records(value))
        except (TypeError, ValueError):
            raise ValueError(f"{path} is damaged") from None
        if wrong := mismatch(value, KeptFields, str(path)):
            raise ValueError(f"{wrong} is damaged")
        for name in FIELDS:
            default = getattr(journal, name)
            setattr(journal, name, value[name] if type(value.get(name)) is type(default) else default)
        journal.console_sent = console_file.sent(folder / _SENT, journal.console_sent)
        has_end = not journal.end or journal.end.keys() | {"traceback"} == _END | {"traceback"}
        if not has_end or not 0 <= journal.worker_pid < 2**31:
            raise ValueError(f"{path} is damaged")
        return journal

    def save(self) -> None:
        """Write all but the console, as a whole or not at all.

        Raises:
            OSError: the folder cannot be written.
        """
        if self.kept:
            with self._writing:
                self._save()

    def _save(self) -> None:
        private_folder(self.folder, home=self.folder.parents[1])
        run = self.run._replace(
            tracking_uri=without_credentials(self.run.tracking_uri),
            artifact_uri=without_credentials(self.run.artifact_uri),
            tags={name: hide_named(name, value) for name, value in self.run.tags.items()},
        )
        value = {
            "version": VERSION,
            "run": to_json(run),
            # `arguments` hold argv without its secrets; the script section holds the source, if ClearML may have it.
            "process": to_json(self.process._replace(argv=[], source="")) if self.process else None,
            **{name: getattr(self, name) for name in FIELDS},
        }
        atomic_file.write(self.folder / _CAPTURE, json.dumps(value).encode())

    @property
    def is_there(self) -> bool:
        """True while the run's folder holds the journal; it is removed when the Task is complete."""
        return exists(self.folder / _CAPTURE)

    @property
    def remedy(self) -> str:
        """The remedy, for a person, for a run that could not be delivered now."""
        return _remedy(self.folder, self.run.run_id)

    def keep(self) -> None:
        """Keep the journal of another process's run on disk, unless that process has done so."""
        self.kept = self.kept or not self.is_there

    def go_on(self, run: RunStarted) -> None:
        """Note that the run goes on and was described anew; MLflow may not hold the tags of its origin yet."""
        self.run = run._replace(tags={**lineage(self.run.tags), **run.tags})
        self.end, self.guessed, self.delivered, self.killed = {}, False, False, False

    def add_console(self, lines: list[ConsoleLine]) -> bool:
        """Append console lines, all of them or none; return True if they are kept.

        Raises:
            OSError: the folder cannot be written.
        """
        with self._writing:
            return self.kept and self._console.append(lines)

    def console(self, start: int = 0) -> Iterator[ConsoleLine]:
        """Yield the console lines from number `start` on, up to one that a crash has cut off."""
        return self._console.read(start)

    def note_console_sent(self, count: int) -> None:
        """Note how many console lines the Task holds, so that no other process sends them again.

        Raises:
            OSError: the folder cannot be written.
        """
        with self._writing:
            self.console_sent = count
            if self.kept and self.is_there:
                console_file.note_sent(self.folder / _SENT, count)

    def remove(self) -> None:
        """Remove the run's folder, because its Task is complete; files of others in it stay.

        Raises:
            OSError: a file cannot be removed.
        """
        if self.kept:
            with self._writing:
                remove_folder(self.folder)


class RunJournals:
    """The folders of all runs below `AUTOINSTRUMENT_HOME`; iterating yields those that can be trusted."""

    def __init__(self, settings: Settings) -> None:
        self.folder = home(settings) / "captures"
        self._settings = settings

    def of(self, run: RunStarted, process: ProcessStarted | None) -> RunJournal:
        """Return the run's journal: the one on disk if there is one, else a new one."""
        folder = self.folder / _folder_name(run.run_id)
        linked = run.tags.get(TASK_ID, "") if run.resumed else ""
        known = _loaded(folder) if run.owned else None
        journal = known or RunJournal(folder, run, process)
        journal.task_id = journal.task_id or linked
        if known is not None:
            journal.go_on(run)
            if process is not None and journal.process is not None and run.begun_elsewhere:
                journal.process = journal.process.resumed_by(process)
            else:
                journal.process = process or journal.process
            if run.task_id:
                journal.task_id, journal.adopted = run.task_id, True
        journal.settings = self._written(run)
        return journal

    def record(self, run: RunStarted, process: ProcessStarted | None) -> None:
        """Write to disk that a run has begun, in a process that may die before its worker knows of the run.

        Raises:
            OSError: the folder cannot be written.
        """
        process = process and run.program_of(process)._replace(modules=[])
        journal = RunJournal(self.folder / _folder_name(run.run_id), run, process)
        journal.machine, journal.settings = machine(), self._written(run)
        if not journal.is_there:
            journal.save()

    def _written(self, run: RunStarted) -> str:
        return written(self._settings, without_credentials(run.tracking_uri), run.experiment_name, run.workspace)

    def remedy(self, run_id: str) -> str:
        """Return the remedy, for a person, for a run that could not be delivered now."""
        return _remedy(self.folder / _folder_name(run_id), run_id)

    def __iter__(self) -> Iterator[Path]:
        if exists(self.folder) and not (distrusted(self.folder.parent) or distrusted(self.folder)):
            found = sorted(path.parent for path in self.folder.glob(f"*/{_CAPTURE}"))
            yield from (folder for folder in found if is_trusted(folder))


def remove_folder(folder: Path) -> None:
    """Remove a run's folder; files of others in it stay, and then the folder.

    Raises:
        OSError: a file cannot be removed.
    """
    for name in (_SENT, _CONSOLE, _CAPTURE):
        atomic_file.remove(folder / name)
    with contextlib.suppress(OSError):  # it holds other files, or does not exist
        folder.rmdir()


def _loaded(folder: Path) -> RunJournal | None:
    try:
        return RunJournal.load(folder)
    except (OSError, ValueError):
        return None


def _records(value: dict[str, Any]) -> tuple[RunStarted, ProcessStarted | None]:
    """Return the records of run and process.

    Raises:
        TypeError, ValueError: one is missing, another one, or has fields of wrong types.
    """
    run = from_json(value.get("run"))
    process = from_json(value["process"]) if value.get("process") else None
    if not isinstance(run, RunStarted) or not isinstance(process, ProcessStarted | None):
        raise TypeError
    if not has_right_types(run) or (process is not None and not has_right_types(process)):
        raise TypeError
    return run, process


def _remedy(folder: Path, run_id: str) -> str:
    if exists(folder / _CAPTURE):
        return "recorded, `autoinstrument sync` completes it later"
    return f"not recorded on disk, `autoinstrument sync --run {run_id}` makes its Task later"


def _folder_name(run_id: str) -> str:
    """Return the run id as a folder's name; it is 32 hex digits with every store of MLflow's own."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", run_id)[:128]
    return name if name.strip(".") else f"run{name}"
