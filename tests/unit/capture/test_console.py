"""Hearing stdout and stderr while they stay what they were."""

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
heard = []
console = ConsoleCapture(lambda stream, text: heard.append((stream, text)))
console.attach()
"""
END = "\nconsole.detach(); import json; print('HEARD', json.dumps(heard))"


@pytest.fixture
def hear(run):
    """Run code in a process whose console is captured; return what was written and what was captured."""

    def hear(code, **options):
        done = run("-c", BEGIN + code + END, check=False, **options)
        assert done.returncode == 0, done.stderr
        output, _, heard = done.stdout.rpartition("HEARD ")
        return output, done.stderr, [tuple(pair) for pair in json.loads(heard)]

    return hear


@pytest.fixture(params=["block-buffered", "unbuffered"])
def stream(tmp_path, request):
    """Standard output as Python makes it: with a buffer for a pipe, without one for `python -u`."""
    is_buffered = request.param == "block-buffered"
    with (tmp_path / "console").open("wb", -1 if is_buffered else 0) as binary:
        yield io.TextIOWrapper(binary, "utf-8", write_through=not is_buffered)


@pytest.fixture
def listen(monkeypatch, stream):
    """Attach a console with a standard text stream of our own in the place of stdout; pytest's are left alone.

    Not done in the fixture itself: pytest puts its own streams there again before the test is called.
    """

    def listen(write, stderr=None):
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "__stdout__", stream)
        monkeypatch.setattr(sys, "stderr", stderr)
        console = ConsoleCapture(write, (stream.fileno(), stream.fileno()))
        console.attach()
        return console

    return listen


def text_of(stream):
    if not stream.closed:
        stream.flush()
    return Path(stream.name).read_text("utf-8")


def joined(heard, name="stdout"):
    return "".join(text for stream, text in heard if stream == name)


def test_print_logging_and_writelines_are_captured_once(hear):
    output, errors, heard = hear(
        "import logging\n"
        "logging.basicConfig(); print('a', 'b', flush=True); logging.warning('careful')\n"
        "sys.stdout.writelines(['x', 'y\\n']); assert sys.stdout.write('four') == 4; print(end='')"
    )
    assert output == "a b\nxy\nfour"
    assert joined(heard) == output
    assert joined(heard, "stderr") == errors == "WARNING:root:careful\n"


def test_detaching_leaves_no_trace(hear):
    output, _, heard = hear(
        "before = sys.stdout, type(sys.stdout)\n"
        "console.detach(); assert 'write' not in vars(sys.stdout); assert 'write' not in vars(sys.stderr)\n"
        "assert before == (sys.stdout, type(sys.stdout)); print('unheard'); console.follow(); console.detach()"
    )
    assert (output, heard) == ("unheard\n", [])


def test_no_streams(hear):
    hear(
        "console.detach(); sys.stdout = sys.stderr = None\n"
        "console.attach(); console.follow(); sys.stdout = sys.__stdout__"
    )


def test_a_listener_that_fails_does_not_disturb_the_writer(stream, listen):
    def fail(name, text):
        raise RuntimeError

    console = listen(fail)
    assert stream.write("text") == 4
    console.detach()
    assert text_of(stream) == "text"


def test_errors_of_the_stream_pass(stream, listen):
    heard = []
    console = listen(lambda *pair: heard.append(pair))
    with pytest.raises(TypeError):
        stream.write(3)
    with pytest.raises(TypeError):
        stream.write()
    stream.close()
    with pytest.raises(ValueError):
        stream.write("late")
    console.detach()
    assert heard == []


def test_text_that_the_listener_writes_is_not_captured(stream, listen):
    heard = []

    def write(name, text):
        heard.append(text)
        print("inner", file=stream)

    console = listen(write)
    stream.write("outer\n")
    console.detach()
    assert heard == ["outer\n"]
    assert text_of(stream) == "outer\ninner\n"


def test_one_thread_calls_the_listener_while_another_writes(stream, listen):
    heard = []
    first, second = threading.Event(), threading.Event()

    def write(name, text):
        heard.append(text)
        if text == "slow":
            first.set()
            assert second.wait(10)

    console = listen(write)
    slow = threading.Thread(target=stream.write, args=["slow"])
    slow.start()
    assert first.wait(10)
    stream.write("quick")
    second.set()
    slow.join()
    console.detach()
    assert heard == ["slow", "quick"]


@pytest.mark.parametrize("stream", ["unbuffered"], indirect=True)
def test_many_threads_lose_nothing(stream, listen):
    """Not block-buffered: there CPython itself mixes up what several threads write (gh-119506, 3.10 to 3.12.3)."""
    heard = []
    console = listen(lambda *pair: heard.append(pair[1]))

    def work(number):
        for i in range(500):
            stream.write(f"{number}-{i}\n")

    threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    console.detach()
    assert sorted("".join(heard).split()) == sorted(text_of(stream).split())
    assert len(heard) == 4000


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
    heard = []
    monkeypatch.setattr(sys, "stdout", kind())
    console = ConsoleCapture(lambda *pair: heard.append(pair))
    console.attach()
    print("text")
    console.follow()
    console.detach()
    assert "".join(sys.stdout.written) == "text\n"
    assert heard == []


def another(stream):
    """Return a stream on the same descriptor with a separate buffer."""
    return open(stream.fileno(), "w", encoding="utf-8", buffering=1, closefd=False)


class Tee:
    """What scripts write to have their output in a file too."""

    def __init__(self, *streams):
        self.streams = streams

    def write(self, text):
        for stream in self.streams:
            stream.write(text)

    def flush(self):
        for stream in self.streams:
            stream.flush()


class DelegatingTee(Tee):
    """One that is otherwise what the stream is; its descriptor is the console's."""

    def __getattr__(self, name):
        return getattr(self.streams[0], name)


class TeeWithDescriptor(Tee):
    def fileno(self):
        return self.streams[-1].fileno()


class LineTee(Tee):
    """One that writes whole lines, as those do that write to a logger."""

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
def test_a_stream_over_the_old_one_is_captured_at_once_and_once(monkeypatch, stream, listen, replace, looks):
    heard = []
    console = listen(lambda *pair: heard.append(pair[1]))
    print("before", flush=True)
    old = sys.stdout
    monkeypatch.setattr(sys, "stdout", replace(stream))
    print("zwölf", flush=True)
    if looks:
        console.look()
    print("dreizehn")
    sys.stdout.flush()
    console.detach()
    assert "".join(heard) == "before\nzwölf\ndreizehn\n"
    assert old is stream


@pytest.mark.parametrize("tee", [None, Tee, TeeWithDescriptor])
def test_another_stream_on_the_descriptor_is_captured_from_the_next_look_on(monkeypatch, stream, listen, tee):
    heard = []
    console = listen(lambda *pair: heard.append(pair[1]))
    print("old")
    other = another(stream)
    monkeypatch.setattr(sys, "stdout", tee(io.StringIO(), other) if tee else other)
    console.look()
    print("new")
    print("old one", file=stream)
    console.detach()
    assert "".join(heard) == "old\nnew\nold one\n"
    assert "write" not in {**vars(other.buffer), **vars(stream.buffer)}


def test_text_of_a_stream_of_the_scripts_own_is_captured_at_the_end(monkeypatch, stream, listen):
    """The interpreter flushes it later than anything can be captured."""
    heard = []
    console = listen(lambda *pair: heard.append(pair[1]))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stream.buffer, "utf-8"))
    print("last words")
    console.detach()
    assert heard == ["last words\n"]


def test_bytes_are_captured_as_text(stream, listen):
    heard = []
    console = listen(lambda *pair: heard.append(pair[1]))
    data = "für".encode()
    stream.buffer.write(memoryview(data)[:2])
    stream.buffer.write(bytearray(data[2:]))
    stream.buffer.writelines([b"\xff", b"\n"])
    console.detach()
    assert "".join(heard) == "für\ufffd\n"


@pytest.mark.parametrize("stream", ["unbuffered"], indirect=True)
def test_the_beginning_of_a_huge_file_is_captured(stream, listen):
    heard = []
    console = listen(lambda *pair: heard.append(pair[1]))
    assert stream.buffer.write(b"x" * 3_000_000) == 3_000_000
    console.detach()
    assert heard == ["x" * 2**20]


def test_text_for_a_file_is_not_captured(monkeypatch, stream, listen, tmp_path):
    heard = []
    console = listen(lambda *pair: heard.append(pair[1]))
    with (tmp_path / "log").open("w") as file, contextlib.redirect_stdout(file):
        console.follow()
        print("private")
        print("public", file=stream)
    console.detach()
    assert "".join(heard) == "public\n"
    assert (tmp_path / "log").read_text() == "private\n"


def test_a_stream_that_the_script_lets_go_of_goes_at_once(monkeypatch, stream, listen, tmp_path):
    """What it holds is written when it goes; kept alive by us, it would be later, or never."""

    class Log(io.TextIOBase):
        def __init__(self):
            self.file = io.TextIOWrapper((tmp_path / "log").open("wb"))

        def write(self, text):
            return self.file.write(text)

    console = listen(lambda *pair: None)
    for made in (Log, lambda: another(stream)):
        with contextlib.redirect_stdout(made()):
            console.follow()
            gone = weakref.ref(sys.stdout)
            print("kept")
        assert gone() is None
    assert (tmp_path / "log").read_text() == "kept\n"
    assert "kept" in Path(stream.name).read_text()
    console.detach()


def test_output_redirected_into_memory_is_kept_from_the_console(stream, listen):
    heard = []
    console = listen(lambda *pair: heard.append(pair[1]))
    with contextlib.redirect_stdout(io.StringIO()):
        console.follow()
        print("private")
    stream.write("public")
    console.detach()
    assert heard == ["public"]


def test_one_object_as_both_streams_is_captured_once(stream, listen):
    heard = []
    console = listen(lambda *pair: heard.append(pair), stderr=stream)
    stream.write("text")
    console.detach()
    assert heard == [("stdout", "text")]
    assert "write" not in vars(stream)


@pytest.mark.parametrize("stream", ["block-buffered"], indirect=True)
def test_a_shadow_that_was_there_before_is_put_back(stream, listen):
    original = stream.write
    before = stream.write = lambda text: original(text.upper())
    heard = []
    console = listen(lambda *pair: heard.append(pair[1]))
    stream.write("text")
    console.detach()
    assert vars(stream)["write"] is before
    assert (text_of(stream), heard) == ("TEXT", ["text"])


def test_a_shadow_that_was_put_over_the_agents_stays(stream, listen):
    heard = []
    console = listen(lambda *pair: heard.append(pair[1]))
    ours = stream.write
    theirs = stream.write = lambda text: ours(text)
    stream.write("heard")
    console.detach()
    stream.write("unheard")
    assert vars(stream)["write"] is theirs
    assert (text_of(stream), heard) == ("heardunheard", ["heard"])


def test_a_shadow_over_the_agents_that_is_followed_is_not_captured_twice(stream, listen):
    heard = []
    console = listen(lambda *pair: heard.append(pair[1]))
    ours = stream.write
    theirs = stream.write = lambda text: ours(text)
    console.follow()
    stream.write("one")
    stream.write = ours
    stream.write("two")
    console.follow()
    stream.write("three")
    console.detach()
    stream.write("unheard")
    assert heard == ["one", "two", "three"]
    assert theirs is not stream.write


@pytest.mark.parametrize("stream", ["block-buffered"], indirect=True)
def test_a_shadow_that_was_taken_away_is_put_back_by_following(stream, listen):
    heard = []
    console = listen(lambda *pair: heard.append(pair[1]))
    del stream.write
    console.follow()
    stream.write("text")
    console.detach()
    assert heard == ["text"]
    assert "write" not in vars(stream)


def test_following_again_after_detach_captures_nothing(stream, listen):
    heard = []
    console = listen(lambda *pair: heard.append(pair))
    console.detach()
    console.follow()
    stream.write("text")
    assert heard == []


def test_streams_of_python_classes_are_captured_however_they_are_called(monkeypatch):
    """Notebook streams (ipykernel's OutStream) and others are classes with a `write` of their own signature."""

    class Stream(io.TextIOBase):
        def write(self, string: str) -> int:
            return len(string)

    monkeypatch.setattr(sys, "stdout", Stream())
    heard = []
    console = ConsoleCapture(lambda *pair: heard.append(pair[1]))
    console.attach()
    assert sys.stdout.write(string="by name") == 7
    console.detach()
    assert heard == ["by name"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_text_of_a_forked_child_is_captured(hear):
    output, _, heard = hear(
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    print('child', flush=True); os._exit(0 if ('stdout', 'child') in heard else 1)\n"
        "assert os.waitpid(pid, 0)[1] == 0; print('parent')"
    )
    assert output == "child\nparent\n"
    assert joined(heard) == "parent\n"


def test_logging_handlers_that_hold_the_stream_are_captured(stream, listen):
    handler = logging.StreamHandler(stream)
    heard = []
    console = listen(lambda *pair: heard.append(pair[1]))
    handler.handle(logging.makeLogRecord({"msg": "hello"}))
    console.detach()
    assert heard == ["hello\n"]


def test_a_print_costs_microseconds(stream, listen):
    """A bound with room for a busy machine; the measured cost is in the module's docstring."""

    def per_print_us():
        started = time.thread_time()
        for _ in range(20_000):
            print("line", file=stream)
        return (time.thread_time() - started) / 20_000 * 1e6

    plain = min(per_print_us() for _ in range(3))
    console = listen(lambda name, text: None)
    heard = min(per_print_us() for _ in range(3))
    console.detach()
    assert heard - plain < 10


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
    heard = json.loads("".join(output["text"] for output in book.cells[2].outputs).partition("HEARD ")[2])
    assert "".join(text for stream, text in heard if stream == "stdout") == "cell\n"
