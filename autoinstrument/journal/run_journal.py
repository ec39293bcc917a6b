"""What the worker keeps on disk of a run until its Task is complete: the capture, the console, and how far it came.

MLflow holds params, metrics and the rest; only what MLflow does not hold is kept here. Folder `captures/<run id>` below
`AUTOINSTRUMENT_HOME`, mode 0700, files 0600:

- `capture.json`: run and process as records, script, packages, and the process's end;
- `console.jsonl`: one `[stream, text, time in ms]` a line.
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from autoinstrument.capture.machine import machine
from autoinstrument.clone_run.lineage import lineage
from autoinstrument.clone_run.settings import written
from autoinstrument.json_shape import mismatch
from autoinstrument.mlflow_store.link_tags import TASK_ID
from autoinstrument.records import Param, ProcessStarted, RunStarted, from_json, has_right_types, parse, to_json
from autoinstrument.scrubber import hide_named, without_credentials
from autoinstrument.settings import Settings

VERSION = 1
_MAX_CAPTURE, _MAX_LINE = 256 * 2**20, 64 * 2**20
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_END = ("status", "reason", "message")
MAX_CONSOLE = 256 * 2**20
"""Bytes of console kept of one run; what comes after is left out."""

ConsoleLine = tuple[str, str, int]
"""Stream, text, time in ms."""


def home(settings: Settings) -> Path:
    """Return the folder of captures and state; it need not exist.

    A container's user often has no home folder, or none that can be written: then it is one in the temporary folder.
    """
    if settings.home:
        return _expanded(settings.home).absolute()  # also after the script has changed the working directory
    folder = _state_folder() / "autoinstrument"
    there = nearest(folder)
    if not hasattr(os, "getuid") or (folder.is_absolute() and os.access(there, os.W_OK)):
        return folder
    substitute = Path(tempfile.gettempdir()) / f"autoinstrument-state-{os.getuid()}"
    return substitute if _may_be_used(substitute) else folder


def nearest(folder: Path) -> Path:
    """Return the folder, or what there is of the way to it."""
    # Not `exists()`, which raises below a folder that may not be looked into, as HOME=/root of an image's other user.
    return next(path for path in (folder, *folder.parents) if os.access(path, os.F_OK))


def _state_folder() -> Path:
    """Return where the platform keeps a user's state.

    The training process asks too, and a `platformdirs.py` beside the script would be taken for that library.
    """
    if sys.platform == "win32":
        return _expanded(os.environ.get("LOCALAPPDATA") or "~/AppData/Local")
    if sys.platform == "darwin":
        return _expanded("~/Library/Application Support")
    given = os.environ.get("XDG_STATE_HOME", "").strip()
    return _expanded(given if os.path.isabs(given) else "~/.local/state")  # noqa: PTH117


def _expanded(folder: str) -> Path:
    """Return the folder; "~" stays as it is, and relative, where there is neither HOME nor a password file's entry."""
    return Path(os.path.expanduser(folder))  # noqa: PTH111  (Path's raises there)


def _may_be_used(folder: Path) -> bool:
    """Tell whether a folder, where others may write beside it, is this user's own or still to be made."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return True
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


class Capture:
    """One run's folder.

    Attributes:
        run, process: as the training process described them; credentials are not kept.
        script: ClearML's script section. requirements, freeze: pip's format.
        settings: those of the process that began the run, as its Task has them; "" where they are not known.
        task_id, task_url: the Task once there is one. console_sent: lines of the console that the Task holds.
        worker_pid: the process that is to complete the Task; 0 once it has given up.
        machine: where that and the training process are, see `journal.liveness`.
        reason: why it is not complete, "" where nothing has gone wrong.
        kept: it is kept on disk; that of a run which another process owns is that process's.
        end: how the run ended, see `mirror.mapping.run_status`; empty while it is running.
        guessed: nobody has said so: the process is gone, and what MLflow's store says of the run's end counts.
        delivered: the Task holds everything; MLflow may lack the link tags.
        killed: the run's process was ended from outside: the run must end as KILLED in MLflow.
    """

    def __init__(self, folder: Path, run: RunStarted, process: ProcessStarted | None) -> None:
        self.folder = folder
        self.run = run
        self.process = process
        self.script: dict[str, str] = {}
        self.requirements = ""
        self.freeze = ""
        self.task_id = run.task_id
        self.task_url = ""
        self.adopted = bool(run.task_id)
        self.settings = ""
        self.console_sent = 0
        self.end: dict[str, str] = {}
        self.guessed = self.delivered = self.killed = False
        self.worker_pid = 0
        self.machine = ""
        self.kept = run.owned
        self.reason = ""

    @classmethod
    def load(cls, folder: Path) -> Capture:
        """Read a capture.

        Raises:
            ValueError: it is damaged, or of another version.
            OSError: it cannot be read.
        """
        with (folder / "capture.json").open("rb") as file:
            text = file.read(_MAX_CAPTURE + 1)
        if len(text) > _MAX_CAPTURE:
            raise ValueError(f"{folder / 'capture.json'} is over {_MAX_CAPTURE} bytes")
        value = parse(text)
        if not isinstance(value, dict) or value.get("version") != VERSION:
            raise ValueError(f"{folder / 'capture.json'} is not a capture of version {VERSION}")
        run = from_json(value.get("run"))
        process = from_json(value["process"]) if value.get("process") else None
        if not isinstance(run, RunStarted) or not isinstance(process, ProcessStarted | None):
            raise ValueError(f"{folder / 'capture.json'} is damaged")  # noqa: TRY004  (data, not a caller's mistake)
        if not has_right_types(run) or (process is not None and not has_right_types(process)):
            raise ValueError(f"{folder / 'capture.json'} is damaged")
        capture = cls(folder, run, process)
        if wrong := mismatch(value, _Kept, str(folder / "capture.json")):
            raise ValueError(f"{wrong} is damaged")
        for name in _KEPT:
            default = getattr(capture, name)
            setattr(capture, name, value[name] if type(value.get(name)) is type(default) else default)
        whole = not capture.end or capture.end.keys() | {"traceback"} == {*_END, "traceback"}
        if not (whole and 0 <= capture.worker_pid < 2**31):
            raise ValueError(f"{folder / 'capture.json'} is damaged")
        return capture

    def save(self) -> None:
        """Write all but the console, in one piece or not at all.

        Raises:
            OSError: the folder cannot be written.
        """
        if not self.kept:
            return
        private_folder(self.folder, home=self.folder.parents[1])
        run = self.run._replace(
            tracking_uri=without_credentials(self.run.tracking_uri),
            artifact_uri=without_credentials(self.run.artifact_uri),
            tags={name: hide_named(name, value) for name, value in self.run.tags.items()},
        )
        value = {
            "version": VERSION,
            "run": to_json(run),
            # `arguments` keep argv without its secrets; the script section keeps the source, where ClearML may have it.
            "process": to_json(self.process._replace(argv=[], source="")) if self.process else None,
            **{name: getattr(self, name) for name in _KEPT},
        }
        _write(self.folder / "capture.json", json.dumps(value).encode())

    @property
    def is_there(self) -> bool:
        """True while the run's folder holds it; it is taken away when the Task is complete."""
        return (self.folder / "capture.json").exists()

    @property
    def remedy(self) -> str:
        """What a person is to know of a run that could not be delivered now."""
        return _remedy(self.folder, self.run.run_id)

    def keep(self) -> None:
        """Keep on disk what is known of another process's run, where that process has kept nothing here."""
        self.kept = self.kept or not self.is_there

    def go_on(self, run: RunStarted) -> None:
        """Note that the run goes on, described anew; where it comes from, MLflow may not have been told yet."""
        self.run = run._replace(tags={**lineage(self.run.tags), **run.tags})
        self.end, self.guessed, self.delivered, self.killed = {}, False, False, False

    def add_console(self, lines: list[ConsoleLine]) -> bool:
        """Append console lines, all of them or none; tell whether they are kept.

        Raises:
            OSError: the folder cannot be written.
        """
        if not self.kept:
            return False
        file = os.open(self.folder / "console.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NO_LINK, 0o600)
        try:
            size = os.fstat(file).st_size
            if size >= MAX_CONSOLE:
                return False
            try:
                _write_all(file, "".join(json.dumps(line) + "\n" for line in lines).encode())
            except OSError:
                os.ftruncate(file, size)  # half a line would hide all that come after it
                raise
        finally:
            os.close(file)
        return True

    def console(self, start: int = 0) -> Iterator[ConsoleLine]:
        """Yield console lines from number `start` on; a line that was cut off by a crash ends it."""
        try:
            with (self.folder / "console.jsonl").open("rb") as file:
                for number, text in enumerate(iter(lambda: file.readline(_MAX_LINE), b"")):
                    if number >= start:
                        stream, line, time_ms = parse(text)
                        yield str(stream), str(line), int(time_ms)
        except (OSError, ValueError, TypeError, OverflowError):
            return

    def remove(self) -> None:
        """Take the run's folder away: its Task is complete."""
        if not self.kept:
            return
        for name in ("console.jsonl", "capture.json"):
            (self.folder / name).unlink(missing_ok=True)
        try:
            self.folder.rmdir()
        except OSError:  # somebody put something of theirs there, or it never was
            return

    def set_arguments(self, arguments: list[Param]) -> None:
        """Keep the command line as it was parsed after the run began."""
        if self.process is not None:
            self.process = self.process._replace(arguments=arguments)


class _FirstFields(TypedDict):
    script: dict[str, str]
    requirements: str
    freeze: str
    task_id: str
    task_url: str
    adopted: bool
    console_sent: int
    end: dict[str, str]
    worker_pid: int


class _Kept(_FirstFields, total=False):
    """The fields of a capture on disk, beside run and process; older captures lack these."""

    machine: str
    reason: str
    guessed: bool
    settings: str
    delivered: bool
    killed: bool


_KEPT = tuple(_Kept.__annotations__)


class Captures:
    """All runs' folders below `AUTOINSTRUMENT_HOME`."""

    def __init__(self, settings: Settings) -> None:
        self.folder = home(settings) / "captures"
        self._settings = settings

    def of(self, run: RunStarted, process: ProcessStarted | None) -> Capture:
        """Return the run's capture: the one on disk where there is one, else a new one."""
        folder = self.folder / _safe(run.run_id)
        linked = run.tags.get(TASK_ID, "") if run.resumed else ""
        try:
            if not run.owned:
                raise FileNotFoundError
            capture = Capture.load(folder)
        except (OSError, ValueError, KeyError):
            capture = Capture(folder, run, process)
            capture.task_id, capture.settings = capture.task_id or linked, self._written(run)
            return capture
        capture.task_id = capture.task_id or linked
        capture.go_on(run)
        capture.process = process or capture.process
        capture.settings = self._written(run)
        if run.task_id:
            capture.task_id, capture.adopted = run.task_id, True
        return capture

    def record(self, run: RunStarted, process: ProcessStarted | None) -> None:
        """Note on disk that a run has begun, by a process that may die before its worker knows of it.

        Raises:
            OSError: the folder cannot be written.
        """
        process = process and run.program_of(process)._replace(modules=[])
        capture = Capture(self.folder / _safe(run.run_id), run, process)
        capture.machine, capture.settings = machine(), self._written(run)
        if not (capture.folder / "capture.json").exists():
            capture.save()

    def _written(self, run: RunStarted) -> str:
        return written(self._settings, without_credentials(run.tracking_uri), run.experiment_name)

    def remedy(self, run_id: str) -> str:
        """Return what a person is to know of a run that could not be delivered now."""
        return _remedy(self.folder / _safe(run_id), run_id)

    def __iter__(self) -> Iterator[Path]:
        if self.folder.is_dir() and not (distrusted(self.folder.parent) or distrusted(self.folder)):
            found = sorted(path.parent for path in self.folder.glob("*/capture.json"))
            yield from (folder for folder in found if not distrusted(folder))


def _remedy(folder: Path, run_id: str) -> str:
    if (folder / "capture.json").exists():
        return "recorded, `autoinstrument sync` completes it later"
    return f"not recorded on disk, `autoinstrument sync --run {run_id}` makes its Task later"


def private_folder(folder: Path, *, home: Path) -> None:
    """Make a folder, and those above it that are missing, for the user alone (0700).

    Args:
        folder: `home` itself or one below it.
        home: the first folder that must be the user's.

    Raises:
        OSError: it cannot be made, or one of them is somebody else's or a link.
    """
    for path in (*reversed(folder.parents), folder):
        ours = path == home or home in path.parents
        if not path.exists():
            path.mkdir(mode=0o700, exist_ok=True)
        if ours and distrusted(path):
            raise PermissionError(f"{path} {distrusted(path)}; nothing is kept there (AUTOINSTRUMENT_HOME)")
        if ours and path != home and path.stat().st_mode & 0o077:
            path.chmod(0o700)


def distrusted(folder: Path) -> str:
    """Return why a folder of state is not used, "" where it may be."""
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode):
        return "is a link"
    if hasattr(os, "getuid") and found.st_uid != os.getuid():
        return "belongs to somebody else"
    return ""


def _safe(run_id: str) -> str:
    """Return the run id as a folder's name; it is 32 hex digits with every store of MLflow's own."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", run_id)[:128]
    return name if name.strip(".") else f"run{name}"


def _write(path: Path, data: bytes) -> None:
    part = path.with_suffix(".part")
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _NO_LINK, 0o600)
    try:
        _write_all(file, data)
    finally:
        os.close(file)
    part.replace(path)


def _write_all(file: int, data: bytes) -> None:
    """Write all bytes; a disk that is nearly full takes some of them without complaint."""
    while data:
        data = data[os.write(file, data) :]
