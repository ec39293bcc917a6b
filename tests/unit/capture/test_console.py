"""Stdout and stderr are captured, and stay the same objects."""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import logging
import os
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest

from autoinstrument.capture.console import ConsoleCapture
from tests.unit.repositories import ROOT

BEGIN = """
import io, os, sys, threading
from autoinstrument.capture.console import ConsoleCapture
captured = []
console = ConsoleCapture(lambda stream, text: captured.append((stream, text)))
console.attach()
"""
END = "\nconsole.detach(); import json; print('CAPTURED', json.dumps(captured))"


@pytest.fixture
def capture(run):
    """Run code in a process whose console is captured; return what was written and what was captured."""

    def capture(code, **options):
        done = run("-c", BEGIN + code + END, check=False, **options)
        assert done.returncode == 0, done.stderr
        output, _, captured = done.stdout.rpartition("CAPTURED ")
        return output, done.stderr, [tuple(pair) for pair in json.loads(captured)]

    return capture


@pytest.fixture(params=["block-buffered", "unbuffered"])
def stream(tmp_path, request):
    """Standard output as Python makes it: with a buffer for a pipe, without one for `python -u`."""
    is_buffered = request.param == "block-buffered"
    with (tmp_path / "console").open("wb", -1 if is_buffered else 0) as binary:
        yield io.TextIOWrapper(binary, "utf-8", write_through=not is_buffered)


@pytest.fixture
def attach(monkeypatch, stream):
    """Attach a console with a standard text stream of the test in the place of stdout; pytest's are left alone.

    Not done in the fixture itself: pytest puts its own streams there again before the test is called.
    """

    def attach(write, stderr=None):
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "__stdout__", stream)
        monkeypatch.setattr(sys, "stderr", stderr)
        console = ConsoleCapture(write, (stream.fileno(), stream.fileno()))
        console.attach()
        return console

    return attach


def text_of(stream):
    if not stream.closed:
        stream.flush()
    return Path(stream.name).read_text("utf-8")


def joined(captured, name="stdout"):
    return "".join(text for stream, text in captured if stream == name)


def test_print_logging_and_writelines_are_captured_once(capture):
    output, errors, captured = capture(
        "import logging\n"
        "logging.basicConfig(); print('a', 'b', flush=True); logging.warning('careful')\n"
        "sys.stdout.writelines(['x', 'y\\n']); assert sys.stdout.write('four') == 4; print(end='')"
    )
    assert output == "a b\nxy\nfour"
    assert joined(captured) == output
    assert joined(captured, "stderr") == errors == "WARNING:root:careful\n"


def test_detaching_leaves_no_trace(capture):
    output, _, captured = capture(
        "before = sys.stdout, type(sys.stdout)\n"
        "console.detach(); assert 'write' not in vars(sys.stdout); assert 'write' not in vars(sys.stderr)\n"
        "assert before == (sys.stdout, type(sys.stdout)); print('uncaptured'); console.follow(); console.detach()"
    )
    assert (output, captured) == ("uncaptured\n", [])


def test_no_streams(capture):
    capture(
        "console.detach(); sys.stdout = sys.stderr = None\n"
        "console.attach(); console.follow(); sys.stdout = sys.__stdout__"
    )


def test_a_listener_that_fails_does_not_disturb_the_writer(stream, attach):
    def fail(name, text):
        raise RuntimeError

    console = attach(fail)
    assert stream.write("text") == 4
    console.detach()
    assert text_of(stream) == "text"


def test_errors_of_the_stream_pass(stream, attach):
    captured = []
    console = attach(lambda *pair: captured.append(pair))
    with pytest.raises(TypeError):
        stream.write(3)
    with pytest.raises(TypeError):
        stream.write()
    stream.close()
    with pytest.raises(ValueError):
        stream.write("late")
    console.detach()
    assert captured == []


def test_text_that_the_listener_writes_is_not_captured(stream, attach):
    captured = []

    def write(name, text):
        captured.append(text)
        print("inner", file=stream)

    console = attach(write)
    stream.write("outer\n")
    console.detach()
    assert captured == ["outer\n"]
    assert text_of(stream) == "outer\ninner\n"


def test_one_thread_calls_the_listener_while_another_writes(stream, attach):
    captured = []
    first, second = threading.Event(), threading.Event()

    def write(name, text):
        captured.append(text)
        if text == "slow":
            first.set()
            assert second.wait(10)

    console = attach(write)
    slow = threading.Thread(target=stream.write, args=["slow"])
    slow.start()
    assert first.wait(10)
    stream.write("quick")
    second.set()
    slow.join()
    console.detach()
    assert captured == ["slow", "quick"]


@pytest.mark.parametrize("stream", ["unbuffered"], indirect=True)
def test_many_threads_lose_nothing(stream, attach):
    """Not block-buffered: there CPython itself mixes up what several threads write (gh-119506, 3.10 to 3.12.3)."""
    captured = []
    console = attach(lambda *pair: captured.append(pair[1]))

    def work(number):
        for i in range(500):
            stream.write(f"{number}-{i}\n")

    threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    console.detach()
    assert sorted("".join(captured).split()) == sorted(text_of(stream).split())
    assert len(captured) == 4000


class Slots:
    __slots__ = ("written",)

    def __init__(self):
        self.written = []

    def write(self, text):
        self.written.append(text)


class ReadOnly(Slots):
    def __setattr__(self, name, value):
        if name != "written":
            raise AttributeError(name)
        super().__setattr__(name, value)


class Hostile(Slots):
    __slots__ = ("__dict__",)

    def __setattr__(self, name, value):
        if name != "written":
            raise RuntimeError
        super().__setattr__(name, value)


@pytest.mark.parametrize("kind", [Slots, ReadOnly, Hostile])
def test_streams_that_cannot_be_captured_are_left_alone(monkeypatch, kind):
    captured = []
    monkeypatch.setattr(sys, "stdout", kind())
    console = ConsoleCapture(lambda *pair: captured.append(pair))
    console.attach()
    print("text")
    console.follow()
    console.detach()
    assert "".join(sys.stdout.written) == "text\n"
    assert captured == []


def another(stream):
    """Return a stream on the same descriptor with a separate buffer."""
    return open(stream.fileno(), "w", encoding="utf-8", buffering=1, closefd=False)


class Tee:
    """A class as scripts write it, to have their output in a file, too."""

    def __init__(self, *streams):
        self.streams = streams

    def write(self, text):
        for stream in self.streams:
            stream.write(text)

    def flush(self):
        for stream in self.streams:
            stream.flush()


class DelegatingTee(Tee):
    """A tee that delegates all else to the stream; its descriptor is the console's."""

    def __getattr__(self, name):
        return getattr(self.streams[0], name)


class TeeWithDescriptor(Tee):
    def fileno(self):
        return self.streams[-1].fileno()


class LineTee(Tee):
    """A tee that writes whole lines, as those do that write to a logger."""

    line = ""

    def __init__(self, stream):
        super().__init__()
        self.write_to = lambda text: stream.write(text)

    def write(self, text):
        *lines, self.line = (self.line + text).split("\n")
        for line in lines:
            self.write_to(f"{line}\n")


REPLACED = {
    "another wrapper of the buffer": lambda stream: io.TextIOWrapper(stream.buffer, "utf-8"),
    "the buffer detached": lambda stream: io.TextIOWrapper(stream.detach(), "utf-8", line_buffering=True),
    "a codec's writer": lambda stream: codecs.getwriter("utf-8")(stream.buffer),
    "the same with another encoding": lambda stream: io.TextIOWrapper(stream.buffer, "utf-16-le"),
    "a tee": lambda stream: Tee(stream, io.StringIO()),
    "a tee that is otherwise the stream": lambda stream: DelegatingTee(stream, io.StringIO()),
    "a tee over a tee": lambda stream: Tee(Tee(io.StringIO(), stream), io.StringIO()),
    "a tee of lines": LineTee,
}


@pytest.mark.parametrize("replace", REPLACED.values(), ids=REPLACED)
@pytest.mark.parametrize("looks", [False, True], ids=["unseen", "seen"])
def test_a_stream_over_the_old_one_is_captured_at_once_and_once(monkeypatch, stream, attach, replace, looks):
    captured = []
    console = attach(lambda *pair: captured.append(pair[1]))
    print("before", flush=True)
    old = sys.stdout
    monkeypatch.setattr(sys, "stdout", replace(stream))
    print("zwölf", flush=True)
    if looks:
        console.look()
    print("dreizehn")
    sys.stdout.flush()
    console.detach()
    assert "".join(captured) == "before\nzwölf\ndreizehn\n"
    assert old is stream


@pytest.mark.parametrize("tee", [None, Tee, TeeWithDescriptor])
def test_another_stream_on_the_descriptor_is_captured_from_the_next_look_on(monkeypatch, stream, attach, tee):
    captured = []
    console = attach(lambda *pair: captured.append(pair[1]))
    print("old")
    other = another(stream)
    monkeypatch.setattr(sys, "stdout", tee(io.StringIO(), other) if tee else other)
    console.look()
    print("new")
    print("old one", file=stream)
    console.detach()
    assert "".join(captured) == "old\nnew\nold one\n"
    assert "write" not in {**vars(other.buffer), **vars(stream.buffer)}


def test_text_of_a_stream_of_the_scripts_own_is_captured_at_the_end(monkeypatch, stream, attach):
    """The interpreter flushes it later than anything can be captured."""
    captured = []
    console = attach(lambda *pair: captured.append(pair[1]))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stream.buffer, "utf-8"))
    print("last words")
    console.detach()
    assert captured == ["last words\n"]


def test_bytes_are_captured_as_text(stream, attach):
    captured = []
    console = attach(lambda *pair: captured.append(pair[1]))
    data = "für".encode()
    stream.buffer.write(memoryview(data)[:2])
    stream.buffer.write(bytearray(data[2:]))
    stream.buffer.writelines([b"\xff", b"\n"])
    console.detach()
    assert "".join(captured) == "für\ufffd\n"


@pytest.mark.parametrize("stream", ["unbuffered"], indirect=True)
def test_the_beginning_of_a_huge_file_is_captured(stream, attach):
    captured = []
    console = attach(lambda *pair: captured.append(pair[1]))
    assert stream.buffer.write(b"x" * 3_000_000) == 3_000_000
    console.detach()
    assert captured == ["x" * 2**20]


def test_text_for_a_file_is_not_captured(monkeypatch, stream, attach, tmp_path):
    captured = []
    console = attach(lambda *pair: captured.append(pair[1]))
    with (tmp_path / "log").open("w") as file, contextlib.redirect_stdout(file):
        console.follow()
        print("private")
        print("public", file=stream)
    console.detach()
    assert "".join(captured) == "public\n"
    assert (tmp_path / "log").read_text() == "private\n"


def test_a_stream_that_the_script_lets_go_of_goes_at_once(monkeypatch, stream, attach, tmp_path):
    """Its text is written when it goes; if the capture kept it alive, that would be later, or never."""

    class Log(io.TextIOBase):
        def __init__(self):
            self.file = io.TextIOWrapper((tmp_path / "log").open("wb"))

        def write(self, text):
            return self.file.write(text)

    console = attach(lambda *pair: None)
    for made in (Log, lambda: another(stream)):
        with contextlib.redirect_stdout(made()):
            console.follow()
            gone = weakref.ref(sys.stdout)
            print("kept")
        assert gone() is None
    assert (tmp_path / "log").read_text() == "kept\n"
    assert "kept" in Path(stream.name).read_text()
    console.detach()


def test_output_redirected_into_memory_is_kept_from_the_console(stream, attach):
    captured = []
    console = attach(lambda *pair: captured.append(pair[1]))
    with contextlib.redirect_stdout(io.StringIO()):
        console.follow()
        print("private")
    stream.write("public")
    console.detach()
    assert captured == ["public"]


def test_one_object_as_both_streams_is_captured_once(stream, attach):
    captured = []
    console = attach(lambda *pair: captured.append(pair), stderr=stream)
    stream.write("text")
    console.detach()
    assert captured == [("stdout", "text")]
    assert "write" not in vars(stream)


@pytest.mark.parametrize("stream", ["block-buffered"], indirect=True)
def test_a_shadow_that_was_there_before_is_put_back(stream, attach):
    original = stream.write
    before = stream.write = lambda text: original(text.upper())
    captured = []
    console = attach(lambda *pair: captured.append(pair[1]))
    stream.write("text")
    console.detach()
    assert vars(stream)["write"] is before
    assert (text_of(stream), captured) == ("TEXT", ["text"])


def test_a_shadow_that_was_put_over_the_agents_stays(stream, attach):
    captured = []
    console = attach(lambda *pair: captured.append(pair[1]))
    agents_write = stream.write
    others_write = stream.write = lambda text: agents_write(text)
    stream.write("captured")
    console.detach()
    stream.write("uncaptured")
    assert vars(stream)["write"] is others_write
    assert (text_of(stream), captured) == ("captureduncaptured", ["captured"])


def test_a_shadow_over_the_agents_that_is_followed_is_not_captured_twice(stream, attach):
    captured = []
    console = attach(lambda *pair: captured.append(pair[1]))
    agents_write = stream.write
    others_write = stream.write = lambda text: agents_write(text)
    console.follow()
    stream.write("one")
    stream.write = agents_write
    stream.write("two")
    console.follow()
    stream.write("three")
    console.detach()
    stream.write("uncaptured")
    assert captured == ["one", "two", "three"]
    assert others_write is not stream.write


@pytest.mark.parametrize("stream", ["block-buffered"], indirect=True)
def test_a_shadow_that_was_taken_away_is_put_back_by_following(stream, attach):
    captured = []
    console = attach(lambda *pair: captured.append(pair[1]))
    del stream.write
    console.follow()
    stream.write("text")
    console.detach()
    assert captured == ["text"]
    assert "write" not in vars(stream)


def test_following_again_after_detach_captures_nothing(stream, attach):
    captured = []
    console = attach(lambda *pair: captured.append(pair))
    console.detach()
    console.follow()
    stream.write("text")
    assert captured == []


def test_streams_of_python_classes_are_captured_however_they_are_called(monkeypatch):
    """Notebook streams (ipykernel's OutStream) and others are classes with a `write` of their own signature."""

    class Stream(io.TextIOBase):
        def write(self, string: str) -> int:
            return len(string)

    monkeypatch.setattr(sys, "stdout", Stream())
    captured = []
    console = ConsoleCapture(lambda *pair: captured.append(pair[1]))
    console.attach()
    assert sys.stdout.write(string="by name") == 7
    console.detach()
    assert captured == ["by name"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_text_of_a_forked_child_is_captured(capture):
    output, _, captured = capture(
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    print('child', flush=True); os._exit(0 if ('stdout', 'child') in captured else 1)\n"
        "assert os.waitpid(pid, 0)[1] == 0; print('parent')"
    )
    assert output == "child\nparent\n"
    assert joined(captured) == "parent\n"


def test_logging_handlers_that_hold_the_stream_are_captured(stream, attach):
    handler = logging.StreamHandler(stream)
    captured = []
    console = attach(lambda *pair: captured.append(pair[1]))
    handler.handle(logging.makeLogRecord({"msg": "hello"}))
    console.detach()
    assert captured == ["hello\n"]


def test_a_print_costs_microseconds(stream, attach):
    """A bound with room for a busy machine; the measured cost is in the module's docstring."""

    def per_print_us():
        started = time.thread_time()
        for _ in range(20_000):
            print("line", file=stream)
        return (time.thread_time() - started) / 20_000 * 1e6

    plain = min(per_print_us() for _ in range(3))
    console = attach(lambda name, text: None)
    captured = min(per_print_us() for _ in range(3))
    console.detach()
    assert captured - plain < 10


def test_output_of_a_marimo_cell_is_captured(monkeypatch, stream, attach):
    """Its stream has the buffer of the kernel's own, a copy of its descriptor, and writes to neither (marimo 0.25)."""
    shown = []

    class ThreadSafeStdout(io.TextIOBase):
        __module__ = "marimo._messaging.streams"
        buffer = stream.buffer

        def fileno(self):
            return stream.fileno()

        def write(self, text):
            shown.append(text)
            return len(text)

    captured = []
    console = attach(lambda name, text: captured.append((name, text)))
    monkeypatch.setattr(sys, "stdout", ThreadSafeStdout())
    console.follow()
    print("cell")
    console.detach()
    assert "".join(shown) == joined(captured) == "cell\n"


@pytest.mark.interpreter
def test_notebook_output_is_captured():
    """IPython removes its own `write` from the streams after each cell, and the agent's with it."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    cells = [f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n" + BEGIN, "print('cell')", END.strip("\n; ")]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(book, kernel_name="python3", timeout=60).execute()
    assert book.cells[1].outputs[0]["text"] == "cell\n"
    captured = json.loads("".join(output["text"] for output in book.cells[2].outputs).partition("CAPTURED ")[2])
    assert "".join(text for stream, text in captured if stream == "stdout") == "cell\n"
