"""Hearing stdout and stderr while they stay what they were."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
import threading
import time

import pytest

from autoinstrument.capture.console import Console
from tests.capture.conftest import ROOT

BEGIN = """
import io, os, sys, threading
from autoinstrument.capture.console import Console
heard = []
console = Console(lambda stream, text: heard.append((stream, text)))
console.attach()
"""
END = "\nconsole.detach(); import json; print('HEARD', json.dumps(heard))"


@pytest.fixture
def hear(run):
    """Run code in a process whose console is heard; return what was written and what was heard of it."""

    def hear(code, **options):
        done = run("-c", BEGIN + code + END, check=False, **options)
        assert done.returncode == 0, done.stderr
        output, _, heard = done.stdout.rpartition("HEARD ")
        return output, done.stderr, [tuple(pair) for pair in json.loads(heard)]

    return hear


@pytest.fixture
def stream():
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)


@pytest.fixture
def listen(monkeypatch, stream):
    """Attach a console with a standard text stream of our own in the place of stdout; pytest's are left alone.

    Not done in the fixture itself: pytest puts its own streams there again before the test is called.
    """

    def listen(write, stderr=None):
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stderr)
        console = Console(write)
        console.attach()
        return console

    return listen


def text_of(stream):
    return stream.buffer.getvalue().decode()


def joined(heard, name="stdout"):
    return "".join(text for stream, text in heard if stream == name)


def test_print_logging_and_writelines_are_heard_once(hear):
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


def test_hand_over_that_fails_is_not_the_writers_business(stream, listen):
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


def test_what_is_written_while_handing_over_is_not_heard(stream, listen):
    heard = []

    def write(name, text):
        heard.append(text)
        print("inner", file=stream)

    console = listen(write)
    stream.write("outer\n")
    console.detach()
    assert heard == ["outer\n"]
    assert text_of(stream) == "outer\ninner\n"


def test_one_thread_hands_over_while_another_writes(stream, listen):
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


def test_many_threads_lose_nothing(stream, listen):
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
def test_streams_that_cannot_be_listened_to_are_left_alone(monkeypatch, kind):
    heard = []
    monkeypatch.setattr(sys, "stdout", kind())
    console = Console(lambda *pair: heard.append(pair))
    console.attach()
    print("text")
    console.follow()
    console.detach()
    assert "".join(sys.stdout.written) == "text\n"
    assert heard == []


def test_streams_replaced_by_the_user_are_followed_and_the_old_one_released(monkeypatch, stream, listen):
    heard = []
    console = listen(lambda *pair: heard.append(pair[1]))
    stream.write("old")
    other = io.TextIOWrapper(io.BytesIO(), write_through=True)
    monkeypatch.setattr(sys, "stdout", other)
    console.follow()
    assert "write" not in vars(stream)
    stream.write("unheard")
    other.write("new")
    console.detach()
    assert heard == ["old", "new"]
    assert "write" not in vars(other)


def test_a_tee_over_the_stream_is_not_heard_twice(monkeypatch, stream, listen):
    class Tee:
        def write(self, text):
            return stream.write(text)

    heard = []
    console = listen(lambda *pair: heard.append(pair[1]))
    monkeypatch.setattr(sys, "stdout", Tee())
    print("before", end="")
    console.follow()
    print("after", end="")
    console.detach()
    assert heard == ["before", "after"]


def test_output_redirected_into_memory_is_kept_from_the_console(stream, listen):
    heard = []
    console = listen(lambda *pair: heard.append(pair[1]))
    with contextlib.redirect_stdout(io.StringIO()):
        console.follow()
        print("private")
    stream.write("public")
    console.detach()
    assert heard == ["public"]


def test_one_object_as_both_streams_is_heard_once(stream, listen):
    heard = []
    console = listen(lambda *pair: heard.append(pair), stderr=stream)
    stream.write("text")
    console.detach()
    assert heard == [("stdout", "text")]
    assert "write" not in vars(stream)


def test_a_shadow_that_was_there_before_is_put_back(stream, listen):
    original = stream.write
    before = stream.write = lambda text: original(text.upper())
    heard = []
    console = listen(lambda *pair: heard.append(pair[1]))
    stream.write("text")
    console.detach()
    assert vars(stream)["write"] is before
    assert (text_of(stream), heard) == ("TEXT", ["text"])


def test_a_shadow_that_was_put_over_ours_stays(stream, listen):
    heard = []
    console = listen(lambda *pair: heard.append(pair[1]))
    ours = stream.write
    theirs = stream.write = lambda text: ours(text)
    stream.write("heard")
    console.detach()
    stream.write("unheard")
    assert vars(stream)["write"] is theirs
    assert (text_of(stream), heard) == ("heardunheard", ["heard"])


def test_a_shadow_over_ours_that_is_followed_is_not_heard_twice(stream, listen):
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


def test_a_shadow_that_was_taken_away_is_put_back_by_following(stream, listen):
    heard = []
    console = listen(lambda *pair: heard.append(pair[1]))
    del stream.write
    console.follow()
    stream.write("text")
    console.detach()
    assert heard == ["text"]
    assert "write" not in vars(stream)


def test_following_again_after_detach_hears_nothing(stream, listen):
    heard = []
    console = listen(lambda *pair: heard.append(pair))
    console.detach()
    console.follow()
    stream.write("text")
    assert heard == []


def test_python_level_streams_are_heard_however_they_are_called(monkeypatch):
    """Notebook streams (ipykernel's OutStream) and others are classes with a `write` of their own signature."""

    class Stream(io.TextIOBase):
        def write(self, string: str) -> int:
            return len(string)

    monkeypatch.setattr(sys, "stdout", Stream())
    heard = []
    console = Console(lambda *pair: heard.append(pair[1]))
    console.attach()
    assert sys.stdout.write(string="by name") == 7
    console.detach()
    assert heard == ["by name"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_writes_and_is_heard(hear):
    output, _, heard = hear(
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    print('child', flush=True); os._exit(0 if ('stdout', 'child') in heard else 1)\n"
        "assert os.waitpid(pid, 0)[1] == 0; print('parent')"
    )
    assert output == "child\nparent\n"
    assert joined(heard) == "parent\n"


def test_logging_handlers_that_hold_the_stream_are_heard(stream, listen):
    handler = logging.StreamHandler(stream)
    heard = []
    console = listen(lambda *pair: heard.append(pair[1]))
    handler.handle(logging.makeLogRecord({"msg": "hello"}))
    console.detach()
    assert heard == ["hello\n"]


def test_a_print_costs_microseconds(stream, listen):
    """A bound with room for a busy machine; the measured cost is in the module's docstring."""

    def per_print_us():
        started = time.perf_counter()
        for _ in range(20_000):
            print("line", file=stream)
        return (time.perf_counter() - started) / 20_000 * 1e6

    plain = min(per_print_us() for _ in range(3))
    console = listen(lambda name, text: None)
    heard = min(per_print_us() for _ in range(3))
    console.detach()
    assert heard - plain < 10


def test_notebook_output_is_heard():
    """IPython takes its own `write` off the streams after each cell, and ours with it."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    cells = [f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n" + BEGIN, "print('cell')", END.strip("\n; ")]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(book, kernel_name="python3", timeout=60).execute()
    assert book.cells[1].outputs[0]["text"] == "cell\n"
    heard = json.loads("".join(output["text"] for output in book.cells[2].outputs).partition("HEARD ")[2])
    assert "".join(text for stream, text in heard if stream == "stdout") == "cell\n"
