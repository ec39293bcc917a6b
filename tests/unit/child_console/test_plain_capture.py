"""A Python without an agent writes as always, and what it writes reaches the run that it belongs to."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoinstrument.child_console import marks, plain_capture
from autoinstrument.records import ConsoleWritten, ProcessJoined
from tests.startup.environment import ROOT
from tests.unit.child_console.conftest import Listener

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no marks on Windows")


@pytest.fixture
def stdout(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.TextIOWrapper]:
    monkeypatch.delenv("AUTOINSTRUMENT_CONSOLE", raising=False)
    stream = io.TextIOWrapper(io.BufferedWriter(io.FileIO(os.open(os.devnull, os.O_WRONLY), "w")))
    monkeypatch.setattr(sys, "__stdout__", stream)
    yield stream
    plain_capture.end()
    stream.close()


def test_only_a_process_that_may_belong_to_a_training_is_captured(
    stdout: io.TextIOWrapper, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_capture.begin()
    assert "write" not in vars(stdout.buffer)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("AUTOINSTRUMENT_CONSOLE", "off")
    plain_capture.begin()
    assert "write" not in vars(stdout.buffer)
    monkeypatch.delenv("AUTOINSTRUMENT_CONSOLE")
    plain_capture.begin()
    assert "write" in vars(stdout.buffer)


def test_an_agent_takes_over(stdout: io.TextIOWrapper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    plain_capture.begin()
    stdout.buffer.write(b"waits \xc3")
    assert stdout.buffer.write(b"\xa4") == 1
    assert [text for _, text, _ in plain_capture.end()] == ["waits ", "ä"]
    assert "write" not in vars(stdout.buffer)
    assert plain_capture.end() == []


CODE = f"""
import sys
sys.path.append({str(ROOT)!r})
from autoinstrument.child_console import plain_capture
plain_capture.begin()
"""


@pytest.mark.parametrize("is_buffered", [True, False])
def test_text_of_the_interpreters_last_flush_arrives(worker: Listener, is_buffered: bool) -> None:
    """Also if the process imports nothing, and has written nothing before its end."""
    marks.leave(str(worker.folder), owned=True)
    options = [] if is_buffered else ["-u"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run([sys.executable, *options, "-I", "-S", "-c", f"{CODE}print('ä')"], check=True, env=environ)
    joined, *texts = worker.wait_for(2)
    assert isinstance(joined, ProcessJoined)
    assert joined.parent == os.getpid()
    assert "".join(each.text for each in texts if isinstance(each, ConsoleWritten)) in ("ä\n", "ä")


def test_output_that_the_script_reads_itself_is_not_shown(worker: Listener) -> None:
    marks.leave(str(worker.folder), owned=True)
    code = f"{CODE}print('for the script'); sys.stderr.write('for the console\\n')"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, stdout=subprocess.PIPE)
    assert done.stdout == b"for the script\n"
    texts = [each.text for each in worker.wait_for(2) if isinstance(each, ConsoleWritten)]
    assert "".join(texts).startswith("for the console")
