"""What the worker knows of a training process's program: its command line, code, packages and machine."""

from __future__ import annotations

from autoinstrument.capture.requirements import Requirements
from autoinstrument.capture.script_section import with_arguments
from autoinstrument.records import ProcessChanged, ProcessStarted, RunStarted
from autoinstrument.worker.capture_thread import CaptureThread
from autoinstrument.worker.machine_specs import Specs


class ProcessDescription:
    """Describes a process in the Tasks of its runs, as far as it is known.

    Args:
        capturing: captures the code and the packages of this process.
    """

    def __init__(self, capturing: CaptureThread) -> None:
        self._started: ProcessStarted | None = None
        self._modules: set[str] = set()
        self._capturing = capturing

    @property
    def started(self) -> ProcessStarted | None:
        """The process's description of itself, with its latest changes; None before it has arrived."""
        return self._started

    def start(self, started: ProcessStarted) -> None:
        """Note the process's description of itself."""
        self._started, self._modules = started, set(started.modules)

    def change(self, changed: ProcessChanged) -> bool:
        """Note changes of the process; return True if packages, arguments or source differ from before."""
        if self._started is None:
            return False
        before = (self.packages, self._started)
        known, self._modules = self._modules, self._modules.union(changed.modules)
        packages = self.packages.may_change(known, changed.modules)  # listing them takes a quarter of a second
        self._started = self._started._replace(
            arguments=changed.arguments,
            source=changed.source,
            command_line=changed.command_line,
            configuration=changed.configuration,
            help_texts=changed.help_texts,
        )
        programs = {"": self._started} if changed.source != before[1].source else {}
        if packages or programs:
            self._capturing.ask(self._started, self._modules, programs=programs, packages=packages)
        return (self.packages, self._started) != before

    # What is captured

    def capture(self, run: RunStarted) -> None:
        """Request a capture of packages, and of the code of a run's program; `news` is called when it is done.

        The code is read when the program's first run begins, because the user may edit the files while it is running.
        """
        if self._started is None:
            return
        program, known = _program(run), self._capturing
        programs = {} if known.was_asked(program) else {program: run.program_of(self._started)}
        packages = not known.packages.requirements and not known.is_busy
        if programs or packages:
            known.ask(self._started, self._modules, programs=programs, packages=packages)

    def do_without_git(self, run: RunStarted) -> None:
        """Describe the code of a run's program by files, until Git has answered."""
        if self._started is not None:
            self._capturing.do_without_git(_program(run), run.program_of(self._started))

    @property
    def is_capturing(self) -> bool:
        """True while code or packages are being captured."""
        return self._capturing.is_busy

    @property
    def news(self) -> int:
        """See `CaptureThread.news`."""
        return self._capturing.news

    @property
    def whole_by(self) -> float:
        """See `CaptureThread.whole_by`."""
        return self._capturing.whole_by

    def note_described(self, news: int) -> None:
        """See `CaptureThread.note_described`."""
        self._capturing.note_described(news)

    @property
    def packages(self) -> Requirements:
        """Installed and loaded packages, as far as they are known."""
        return self._capturing.packages

    @property
    def specs(self) -> Specs:
        """Runtime properties that describe the machine; empty until they are known."""
        return self._capturing.specs

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that ClearML's configuration asks for, as far as they are known."""
        return self._capturing.variables

    def script_of(self, run: RunStarted) -> dict[str, str]:
        """Return the script section of a run's Task, with the arguments known so far; {} if the code is unknown."""
        code = self._capturing.code.get(_program(run))
        return with_arguments(code, run.program_of(self._started))._asdict() if code and self._started else {}


def _program(run: RunStarted) -> str:
    """Return the key of a run's program: "" for that of the whole process."""
    return run.run_id if run.main_kind else ""
