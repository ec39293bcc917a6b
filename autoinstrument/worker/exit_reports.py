"""What a training process and the system report of its end: from it follows how its runs have ended."""

from __future__ import annotations

from collections.abc import Mapping

from autoinstrument.mirror.mapping.run_status import End, of_death, of_error, of_exit_code, of_run, of_silent_exit
from autoinstrument.records import EndAnnounced, ProcessExiting, RunEnded
from autoinstrument.worker import cause_of_death


class ExitReports:
    """The reports of one process, and of the system about it."""

    def __init__(self) -> None:
        self._exiting: ProcessExiting | None = None
        self._code: int | None = None
        self._aborted = ""
        self._announced: dict[str, RunEnded] = {}
        """Ends of runs that were announced and not reported yet, by run id."""
        self._at_exit: dict[str, RunEnded] = {}
        """Ends of runs that were reported while the process was exiting, by run id."""
        self._memory_kills = cause_of_death.unexplained_memory_kills()
        self._is_out_of_memory: bool | None = None
        self._signal = ""

    # What is reported

    def announce(self, announced: EndAnnounced) -> None:
        """Note how a run has ended, in case the process dies before it reports the end."""
        self._announced[announced.run_id] = RunEnded(*announced, at_exit=False)

    def note_announced(self, run_id: str) -> None:
        """Note that a run is announced as begun or resumed: an end that was announced counts no more."""
        self._announced.pop(run_id, None)

    def note_begun(self, run_id: str) -> None:
        """Note that a run was begun or resumed: an end that was reported at exit counts no more."""
        self._at_exit.pop(run_id, None)

    def note_end(self, ended: RunEnded) -> None:
        """Note that a run's end was reported in full."""
        announced = self._announced.get(ended.run_id)
        if announced is not None and announced.end_time_ms == ended.end_time_ms:
            del self._announced[ended.run_id]
        if ended.at_exit:
            self._at_exit[ended.run_id] = ended

    def note_exiting(self, exiting: ProcessExiting) -> None:
        """Note that the process runs its exit handlers, and why."""
        self._exiting = exiting

    def note_abort(self, reason: str) -> None:
        """Note that the process is ended because its Task was aborted in ClearML."""
        self._aborted = reason

    def note_death(self, pid: int) -> None:
        """Find out at once which signal killed the process, before its parent takes its exit status."""
        self._signal = cause_of_death.signal_of(pid)

    def note_code(self, code: int | None) -> None:
        """Note the exit code that the process has left; it counts if the process has run its exit handlers."""
        self._code = code if self._exiting is not None else None

    # What follows from it

    @property
    def exiting(self) -> ProcessExiting | None:
        """The process's last report, None if it has not exited as a program does."""
        return self._exiting

    @property
    def code(self) -> int | None:
        """The process's exit code; None if it is not known, or was not set by the program."""
        return self._code

    @property
    def aborted(self) -> str:
        """Why the process was aborted in ClearML, "" if it was not."""
        return self._aborted

    @property
    def at_exit(self) -> Mapping[str, RunEnded]:
        """Ends of runs that were reported while the process was exiting, by run id."""
        return self._at_exit

    def announced_ms(self, run_id: str) -> int:
        """Return when a run ended whose end was announced only, in ms since the epoch; 0 for any other run."""
        announced = self._announced.get(run_id)
        return announced.end_time_ms if announced is not None else 0

    def leaves_end_to_others(self, run_id: str) -> bool:
        """Return True if the process has run its exit handlers without ending a run that was open.

        MLflow's own handler ends the runs that a process has begun by `start_run`, unless another process has ended
        them: that of a program that `mlflow run` has started, for example.
        """
        return self._exiting is not None and not self._aborted and run_id not in self._announced

    def reported_end(self, run_id: str) -> End | None:
        """Return how a run ended that was open when the process ended; None if that was not reported."""
        if run_id in self._announced:
            return of_run(self._announced[run_id])
        if self._aborted:
            return End("stopped", self._aborted, "")
        if self._exiting is not None and self._exiting.error:
            return of_error(self._exiting.error, interrupted=self._exiting.interrupted)
        if self._exiting is not None and self._code:
            return of_exit_code(self._code)
        return None

    def guessed_end(self) -> End:
        """Return how such a run most likely ended; MLflow may know that it ended before."""
        if self._exiting is not None:
            return of_silent_exit()
        if self._is_out_of_memory is None:  # one answer for all of its runs
            self._is_out_of_memory = cause_of_death.unexplained_memory_kills() > self._memory_kills
            if self._is_out_of_memory:
                cause_of_death.explain_memory_kill()
        return of_death(out_of_memory=self._is_out_of_memory, signal=self._signal)
