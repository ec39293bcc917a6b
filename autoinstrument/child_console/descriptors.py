"""Capture the descriptors 1 and 2 of this process and of all that inherit them, by a relay (`relay`).

Only with `AUTOINSTRUMENT_CONSOLE=descriptors`, because it can be seen: docs/internals/console.md has a list,
with measurements.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

from autoinstrument.child_console import marks, process_table
from autoinstrument.child_console.relay_streams import ANSWER, LOOK
from autoinstrument.guard import stderr_was_moved
from autoinstrument.transport import own_python
from autoinstrument.transport.sockets import above_streams

_DRAIN_S = 2.0
"""Seconds that the end of the process waits for the relay; a reader that is slower gets the rest from the relay."""
_START_S = 30.0
_NAMES = {1: "stdout", 2: "stderr"}


_current: Descriptors | None = None


def captured() -> bool:
    """Return True if a relay of this process reads its descriptors."""
    return _current is not None and _current.pid == os.getpid()


def capture(name: str) -> Descriptors:
    """Return the capture of this process's descriptors; begin it if there is none yet. Raises as `Descriptors`."""
    global _current
    if _current is None or _current.pid != os.getpid():
        _current = Descriptors(name)
    return _current


class Descriptors:
    """The descriptors of this process while a relay reads what is written to them.

    Descriptors that lead to the same file share a pipe or terminal, which keeps the order of what is written to them.

    Attributes:
        pid: id of the process.
        marked: number of the `ConsoleDrained` behind everything that was written before the latest `drain`; 0 if the
            process's worker was sent none.

    Raises:
        OSError: there is no interpreter for the relay, or no descriptors are left; nothing has changed then.
    """

    pid: int
    marked = 0
    _control: socket.socket
    _question = 0
    """Number of the latest question to the relay, 1 to 255."""
    _before: dict[int, int]
    """Duplicates of the user's descriptors, by number."""
    _targets: dict[int, int]
    """Descriptors that replace the user's, by number."""

    def __init__(self, name: str) -> None:
        """Begin to capture; `name` stands before this process's lines in the console of another process's run."""
        self._draining = threading.RLock()
        if sys.platform == "win32":
            raise OSError("Windows has no relay for descriptors")
        if (python := own_python.interpreter()) is None:
            raise own_python.NoPythonError
        self.pid = os.getpid()
        self._before, self._targets = {}, {}
        self._control, other = map(above_streams, socket.socketpair())
        self._control.settimeout(_DRAIN_S)
        opened = [other.fileno()]
        try:
            plan = {
                "streams": self._plan(opened),
                "control": other.fileno(),
                "pids": [int(each.partition("-")[0]) for each in process_table.ancestors(self.pid)] or [self.pid],
                "name": name,
                "outer": marks.relayed_by(),
            }
            self._start(python, json.dumps(plan), [*opened, *self._before.values()])
            for number, target in self._targets.items():
                os.dup2(target, number, inheritable=True)
            stderr_was_moved()
        except BaseException:
            self._control.close()
            for descriptor in self._before.values():
                os.close(descriptor)
            raise
        finally:
            for descriptor in {*opened[1:], *self._targets.values()}:
                os.close(descriptor)
            other.close()
        with contextlib.suppress(OSError):
            marks.leave_relay()
        os.register_at_fork(after_in_child=self._forked)

    def _plan(self, opened: list[int]) -> list[tuple[str, int, int, str]]:
        """Open what the relay reads; return its streams: name, source, user's descriptor or place in a file, kind."""
        if sys.platform == "win32":
            raise NotImplementedError
        import fcntl

        streams: list[tuple[str, int, int, str]] = []
        shared: dict[marks.File, int] = {}
        for number, name in _NAMES.items():
            file = marks.file_of(number)
            if file is None:
                continue
            if file in shared:
                if shared[file]:
                    self._before[number] = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)
                    self._targets[number] = fcntl.fcntl(shared[file], fcntl.F_DUPFD_CLOEXEC, 3)
                continue
            if stat.S_ISREG(os.fstat(number).st_mode):
                with contextlib.suppress(OSError):  # it cannot be read
                    source = os.open(f"/proc/self/fd/{number}", os.O_RDONLY | os.O_CLOEXEC)
                    opened.append(source)
                    streams.append((name, source, os.fstat(source).st_size, "file"))
                    shared[file] = 0
                    continue
            is_terminal = os.isatty(number)
            source, target = _terminal_like(number) if is_terminal else os.pipe()
            opened.append(source)
            before = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)
            self._before[number], self._targets[number], shared[file] = before, target, target
            streams.append((name, source, before, "terminal" if is_terminal else "pipe"))
        return streams

    @staticmethod
    def _start(python: str, plan: str, descriptors: list[int]) -> None:
        home = Path(__file__).parents[2]
        program = Path(__file__).with_name("relay.py")
        title = own_python.shown_as(python, "autoinstrument console")
        process = subprocess.Popen(
            [title, "-I", "-S", str(program), str(home), plan],
            executable=python,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=own_python.lasting_environment(),
            pass_fds=descriptors,
        )
        try:
            process.wait(_START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.returncode != 0:
            raise OSError(f"the relay of the console did not start (exit code {process.returncode})")

    def run_began(self) -> None:
        """Make the relay look for this process's own worker, because it has a run now."""
        self._ask(LOOK)

    def drain(self) -> bool:
        """Wait until the relay has written everything; return False if it does not within some seconds."""
        with self._draining:
            self._question = self._question % 255 + 1  # the answer to the one before may come late
            self._ask(bytes([self._question]))
            self.marked = 0
            with contextlib.suppress(OSError):  # it takes longer, the relay was killed, or this process was forked
                while answers := self._control.recv(16 * ANSWER.size):
                    question, marked = ANSWER.unpack(answers[-ANSWER.size :])
                    if question == self._question:
                        self.marked = marked
                        return True
        return False

    def detach(self) -> None:
        """Wait until the relay has written everything, and take the descriptors back.

        Python's streams are flushed first: the interpreter would do so a moment later, past the relay.
        """
        if self.pid != os.getpid() or self._control.fileno() < 0:
            return
        flush()
        if self.drain() and self._before:
            for number, descriptor in self._before.items():
                os.dup2(descriptor, number, inheritable=True)
            stderr_was_moved()
        self._close()

    def _ask(self, question: bytes) -> None:
        with contextlib.suppress(OSError):  # the relay was killed
            self._control.send(question)

    def _close(self) -> None:
        self._control.close()
        for descriptor in self._before.values():
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._before.clear()

    def _forked(self) -> None:
        """Keep the user's descriptors open in the relay alone: a reader waits until the last one is closed."""
        self._close()


def flush() -> None:
    """Flush Python's present streams; the interpreter does not flush those that the script has replaced, either."""
    for name in ("stdout", "stderr"):
        with contextlib.suppress(Exception):  # no stream, a closed one, or one of the script's own class
            getattr(sys, name).flush()


def _terminal_like(descriptor: int) -> tuple[int, int]:
    """Open a terminal with the settings of another one, but without output processing; return its two ends."""
    if sys.platform == "win32":
        raise NotImplementedError
    import fcntl
    import termios

    source, target = os.openpty()
    try:
        settings = termios.tcgetattr(descriptor)
        settings[1] &= ~termios.OPOST  # the user's terminal does that
        termios.tcsetattr(target, termios.TCSANOW, settings)
        fcntl.ioctl(source, termios.TIOCSWINSZ, fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(8)))
        moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 3) for end in (source, target)]
    finally:
        os.close(source)
        os.close(target)
    return moved[0], moved[1]
