"""With a relay, a process writes the same bytes to the same places as without it, and ends in the same way."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from autoinstrument.child_console import marks
from autoinstrument.records import ConsoleDrained, ConsoleWritten, ProcessJoined
from tests.end_to_end.processes import PATIENCE_S
from tests.startup.environment import ROOT
from tests.unit.child_console.conftest import Listener

pytestmark = [
    pytest.mark.interpreter,
    pytest.mark.skipif(sys.platform == "win32", reason="the descriptors are captured on Unix"),
    pytest.mark.usefixtures("runtime"),
]

CAPTURED = f"""
import atexit, os, signal, subprocess, sys, time
sys.path.append({str(ROOT)!r})
from autoinstrument.child_console import descriptors, marks
if sys.argv[1:]:
    marks.leave(sys.argv[1], owned=True)
atexit.register(descriptors.capture("named").detach)
"""
PLAIN = "import atexit, os, signal, subprocess, sys, time\n"
BOTH = pytest.mark.parametrize("start", [PLAIN, CAPTURED], ids=["without", "with"])


def script(start: str, code: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.Popen([sys.executable, "-c", start + code, *arguments], env=environ, **options)


def texts(worker: Listener, expected: str, stream: str = "stdout") -> str:
    """Return the text that has arrived of a stream, as soon as it is the expected one."""
    end = time.monotonic() + 60
    while True:
        found = [each for each in worker.records if isinstance(each, ConsoleWritten) and each.stream == stream]
        text = "".join(each.text for each in found)
        if text == expected or time.monotonic() > end:
            return text
        time.sleep(0.01)


ALL_KINDS = """
print("print"), os.write(1, b"descriptor\\n"), subprocess.run(["echo", "program"])
child = os.fork()
if child == 0:
    os.write(2, b"child\\xff\\n"), os._exit(0)
os.waitpid(child, 0)
import ctypes
ctypes.CDLL(None).puts(b"C library"), ctypes.CDLL(None).fflush(None)
sys.stderr.write("no newline")
"""


def test_everything_arrives_and_is_written_unchanged(worker: Listener) -> None:
    """A block-buffered print comes last: the order is that of the descriptor."""
    done = script(CAPTURED, ALL_KINDS, str(worker.folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE).communicate()
    assert done == (b"descriptor\nprogram\nC library\nprint\n", b"child\xff\nno newline")
    assert texts(worker, done[0].decode()) == done[0].decode()
    assert texts(worker, "child\ufffd\nno newline", "stderr") == "child\ufffd\nno newline"
    (joined, *_) = (each for each in worker.records if isinstance(each, ProcessJoined))
    assert joined.name == "", "in the run of the process itself, lines have no name"


def test_a_process_with_many_descriptors_is_relayed(worker: Listener) -> None:
    """`select` takes no descriptors over 1,023, and the relay's have the numbers that they have in the process."""
    crowded = "import os\nfor _ in range(1100): os.dup(0)\n"
    code = 'os.write(1, b"printed\\n"); print(descriptors.capture("named").drain())'
    arguments = [str(worker.folder)]
    done = script(crowded + CAPTURED, code, *arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert done.communicate(timeout=PATIENCE_S)[0] == b"printed\nTrue\n"
    assert texts(worker, "printed\nTrue\n") == "printed\nTrue\n"


def test_the_worker_is_sent_a_mark_behind_the_text(worker: Listener) -> None:
    """The process posts the mark's number ahead of its run's end."""
    code = """
captured = descriptors.capture("named")
for text in (b"first\\n", b"second\\n"):
    os.write(1, text), captured.drain()
    sys.stderr.write(f"{captured.marked}\\n")
"""
    process = script(CAPTURED, code, str(worker.folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.communicate(timeout=PATIENCE_S)[1] == b"1\n2\n"
    texts(worker, "first\nsecond\n")
    of_stdout = [each for each in worker.records if getattr(each, "stream", "stdout") == "stdout"][1:]
    first, second = (ConsoleDrained(process.pid, number) for number in (1, 2))
    kinds = [each.text if isinstance(each, ConsoleWritten) else each for each in of_stdout]
    assert kinds[:4] == ["first\n", first, "second\n", second]


@pytest.mark.parametrize("run", ["of another process", "none"])
def test_no_mark_is_awaited_that_the_worker_of_the_process_does_not_get(worker: Listener, run: str) -> None:
    code = 'captured = descriptors.capture("named"); os.write(1, b"x\\n"), captured.drain(), print(captured.marked)'
    if run == "of another process":
        marks.leave(str(worker.folder), owned=True)
    process = script(CAPTURED, code, stdout=subprocess.PIPE)
    assert process.communicate(timeout=PATIENCE_S)[0] == b"x\n0\n"
    if run == "of another process":
        assert texts(worker, "x\n0\n") == "x\n0\n"
        assert not [each for each in worker.records if isinstance(each, ConsoleDrained)]
        marks.remove(os.getpid())


def test_an_answer_that_comes_late_is_not_that_of_the_next_question() -> None:
    code = """
import select
relay, captured = int(sys.stdin.readline()), descriptors.capture("named")
captured._control.settimeout(0.2)
os.kill(relay, signal.SIGSTOP)
first = captured.drain()
os.kill(relay, signal.SIGCONT)
select.select([captured._control], [], [])
os.kill(relay, signal.SIGSTOP)
second = captured.drain()
os.kill(relay, signal.SIGCONT)
captured._control.settimeout(60)
print(first, second, captured.drain())
"""
    process = script(CAPTURED + 'print("begun", flush=True)', code, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    out, _ = process.communicate(b"%d\n" % relays(process.pid)[1].pid, timeout=PATIENCE_S)
    assert out == b"False False True\n"


def test_a_relay_that_does_not_start_in_time_changes_nothing() -> None:
    """On a slow file system an interpreter may take minutes; the console is captured in another way then."""
    code = """
class Slow(descriptors.subprocess.Popen):
    def __init__(self, command, **options):
        super().__init__(["sleep", "600"], **{**options, "executable": "sleep"})

descriptors.subprocess.Popen, descriptors._START_S = Slow, 0.1
try:
    descriptors.capture("named")
except OSError as error:
    print(error, descriptors.captured())
"""
    start = CAPTURED.rpartition("atexit.register")[0]
    out, _ = script(start, code, stdout=subprocess.PIPE).communicate(timeout=PATIENCE_S)
    assert out == b"the relay of the console did not start (exit code -9) False\n"


@BOTH
def test_two_streams_to_one_pipe_keep_their_order(start: str) -> None:
    code = 'for number in range(500): os.write(1, b"o%d\\n" % number), os.write(2, b"e%d\\n" % number)'
    out, _ = script(start, code, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).communicate()
    assert out.decode().split() == [f"{stream}{number}" for number in range(500) for stream in "oe"]


def test_a_file_is_read_and_not_replaced(worker: Listener, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("of another job\n")
    code = 'before = os.fstat(1).st_ino == os.stat(sys.argv[2]).st_ino; print(before), os.write(1, b"x\\n")'
    with path.open("a") as file:
        script(CAPTURED, code, str(worker.folder), str(path), stdout=file, stderr=subprocess.STDOUT).wait()
    assert path.read_text() == "of another job\nx\nTrue\n"
    assert texts(worker, "x\nTrue\n") == "x\nTrue\n"


@BOTH
def test_a_terminal_stays_one(start: str) -> None:
    import fcntl
    import pty
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 33, 77, 0, 0))
    code = 'print(os.isatty(1), *os.get_terminal_size(1)), sys.stderr.write("a\\nb\\r\\x1b[1mc\\t\\n")'
    process = script(start, code, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    shown = b""
    while select.select([master], [], [], 60)[0]:
        try:
            shown += os.read(master, 2**16)
        except OSError:  # the last one has closed it
            break
    assert process.wait() == 0
    assert shown == b"True 77 33\r\na\r\nb\r\x1b[1mc\t\r\n"
    os.close(master)


@BOTH
def test_a_reader_that_closes_its_end_ends_the_script(start: str) -> None:
    """The other stream goes on, as without a relay."""
    code = """
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
sys.stderr.write("begun\\n")
while True:
    os.write(1, b"y\\n" * 100)
"""
    process = script(start, code, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == -signal.SIGPIPE
    assert process.stderr.read() == b"begun\n"


@BOTH
def test_buffered_text_is_written_when_python_would_write_it(start: str) -> None:
    code = 'print("held back"), os.write(1, b"first\\n")'
    if start == CAPTURED:
        code += ', descriptors.capture("").drain()'
    out, _ = script(start, code + ', os.write(1, b"second\\n")', stdout=subprocess.PIPE).communicate()
    assert out == b"first\nsecond\nheld back\n"


def relays(pid: int) -> list[psutil.Process]:
    """Return the guardian and the relay of a process, in this order."""
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
        except psutil.Error:
            continue
        if line and line[0].endswith("autoinstrument console") and f'"pids": [{pid}' in line[-1]:
            found.append(process)
    return sorted(found, key=lambda each: each.create_time())


@pytest.mark.parametrize("killed", ["relay", "guardian"])
def test_one_of_the_two_helpers_is_killed(killed: str) -> None:
    code = """
print("begun", flush=True), sys.stdin.readline()
for number in range(20000): print(number, flush=number % 100 == 0)
"""
    process = script(CAPTURED, code, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    both = relays(process.pid)
    assert len(both) == 2
    both[killed == "relay"].kill()
    out, _ = process.communicate(b"\n", timeout=PATIENCE_S)
    assert process.returncode == 0
    assert out.split() == [str(number).encode() for number in range(20000)]


def test_a_reader_closes_its_end_after_the_relay_was_killed() -> None:
    code = """
signal.signal(signal.SIGPIPE, signal.SIG_DFL), os.write(1, b"begun\\n"), sys.stdin.readline()
while True: os.write(1, b"y" * 1000)
"""
    process = script(CAPTURED, code, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    relays(process.pid)[1].kill()
    process.stdin.write(b"\n")
    process.stdin.close()
    assert process.stdout.read(5000) == b"y" * 5000
    process.stdout.close()
    assert process.wait(PATIENCE_S) == -signal.SIGPIPE


@BOTH
@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), 9)", "sys.exit(3)"])
def test_nothing_is_lost_however_the_script_ends(start: str, end: str) -> None:
    code = f'for number in range(1000): os.write(1, b"%d\\n" % number)\n{end}'
    process = script(start, code, stdout=subprocess.PIPE)
    out, _ = process.communicate()
    assert out.decode().split() == [str(number) for number in range(1000)]
    assert process.returncode == (-9 if "kill" in end else 3)


@BOTH
def test_the_end_is_in_order(start: str) -> None:
    """Text that is written after the script has its descriptors back comes after the relay's text."""
    code = 'atexit._run_exitfuncs(); os.write(1, b"last\\n")'
    code = 'os.write(1, b"first\\n" * 5000)\n' + code
    out, _ = script(start, code, stdout=subprocess.PIPE).communicate()
    assert out == b"first\n" * 5000 + b"last\n"


@BOTH
def test_a_child_that_lives_on(start: str) -> None:
    """It writes on, and a reader waits for its end; if it has closed the streams, the reader does not wait."""
    code = 'subprocess.Popen(["sh", "-c", "sleep 0.5; echo late"])'
    out, _ = script(start, code, stdout=subprocess.PIPE).communicate()
    assert out == b"late\n"
    code = 'subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL)'
    process = script(start, f"print({code}.pid)", stdout=subprocess.PIPE)
    out, _ = process.communicate(timeout=PATIENCE_S)
    psutil.Process(int(out)).kill()


def test_the_relays_are_gone_with_the_script(wait_until: Callable[[Callable[[], bool]], None]) -> None:
    process = script(CAPTURED, "sys.stdin.read()", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    wait_until(lambda: len(relays(process.pid)) == 2)
    process.communicate(b"")
    wait_until(lambda: not relays(process.pid))
