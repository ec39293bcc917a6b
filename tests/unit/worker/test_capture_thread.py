"""Code and packages are captured beside the loop, once they are asked for."""

from __future__ import annotations

import math
import os
import re
import sys
import threading
import time
from pathlib import Path

import pytest

from autoinstrument.capture.requirements import Requirements
from autoinstrument.capture.settings import CaptureSettings
from autoinstrument.worker import capture_thread
from autoinstrument.worker.capture_thread import CaptureThread
from tests.unit.mirror.runs import PROCESS


def settle(capturing: CaptureThread) -> None:
    """Wait until everything was captured, and describe runs by it."""
    while capturing.is_busy:
        if news := capturing.news:
            capturing.note_described(news)
        time.sleep(0.01)


def test_a_quick_capture_is_there_at_once(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print(1)\n")
    process = PROCESS._replace(main_kind="script", main_path=str(tmp_path / "train.py"), cwd=str(tmp_path))
    capturing = CaptureThread(CaptureSettings, lambda _: None)
    capturing.ask(process, [], programs={"": process}, packages=False)
    assert capturing.is_busy
    settle(capturing)
    assert capturing.code[""].diff == "print(1)\n"
    assert capturing.packages == Requirements("", "")
    assert not capturing.is_busy


def test_a_slow_capture_is_there_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then the code is described by files; a second request waits for its turn."""
    (tmp_path / "train.py").write_text("print(1)\n")
    process = PROCESS._replace(main_kind="script", main_path=str(tmp_path / "train.py"), cwd=str(tmp_path))
    go_on, listed = threading.Event(), Requirements("mlflow==3\n", "mlflow==3\n")

    def slow(*_: object, **__: object) -> Requirements:
        go_on.wait()
        return listed

    monkeypatch.setattr(capture_thread, "_packages", slow)
    capturing = CaptureThread(CaptureSettings, lambda _: None)
    capturing.ask(process, [], programs={"": process}, packages=True)
    capturing.ask(process, [], programs={"second": process}, packages=False)
    for program in ("", "second"):
        assert capturing.was_asked(program)
        capturing.do_without_git(program, process)
        assert capturing.code[program].entry_point == "train.py"
    assert capturing.is_busy
    go_on.set()
    settle(capturing)
    assert capturing.packages == listed
    assert capturing.code.keys() == {"", "second"}
    assert not capturing.news


def test_code_that_may_not_be_kept_is_not_described_before_that_is_known(tmp_path: Path) -> None:
    """A Task that does not wait for Git must not have what ClearML's configuration forbids."""
    (tmp_path / "train.py").write_text("password = 1\n")
    process = PROCESS._replace(main_kind="script", main_path=str(tmp_path / "train.py"), cwd=str(tmp_path))
    may_answer = threading.Event()

    def forbidden() -> CaptureSettings:
        may_answer.wait()
        return CaptureSettings(stored=False)

    capturing = CaptureThread(forbidden, lambda _: None)
    capturing.ask(process, [], programs={"": process}, packages=False)
    capturing.do_without_git("", process)
    assert (capturing.code[""].entry_point, capturing.code[""].diff) == ("train.py", "")
    may_answer.set()
    settle(capturing)
    assert capturing.code[""].diff == ""


def test_settings_of_clearmls_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """All packages, and variables of the environment."""
    monkeypatch.setenv("OF_THIS_TEST", "1")
    process = PROCESS._replace(pid=os.getpid(), sys_path=sys.path)
    capturing = CaptureThread(lambda: CaptureSettings(pip_freeze=True, variables=("OF_THIS_*",)), lambda _: None)
    capturing.ask(process, [], programs={}, packages=True)
    settle(capturing)
    assert capturing.variables == {"OF_THIS_TEST": "1"}
    required = capturing.packages.requirements
    assert "\npytest==" in required
    assert re.search(r"\nautoinstrument(==| @ )", required)  # the second one from a Git checkout


@pytest.mark.parametrize("patience_s", [60.0, 0.0])
def test_the_first_part_of_a_capture_waits_for_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience_s: float
) -> None:
    """A Task that is made with code and packages needs one request, and not five; but not if packages take long."""
    go_on = threading.Event()

    def slow(*_: object, **__: object) -> Requirements:
        go_on.wait()
        return Requirements("mlflow==3\n", "mlflow==3\n")

    monkeypatch.setattr(capture_thread, "_packages", slow)
    monkeypatch.setattr(capture_thread, "WHOLE_S", patience_s)
    capturing = CaptureThread(CaptureSettings, lambda _: None)
    capturing.ask(PROCESS._replace(cwd=str(tmp_path)), [], programs={"": PROCESS}, packages=True)
    while "" not in capturing.code:
        time.sleep(0.01)
    while not patience_s and not capturing.news:
        time.sleep(0.01)
    assert bool(capturing.news) is not bool(patience_s)
    assert (capturing.whole_by < math.inf) is bool(patience_s)
    go_on.set()
    while not capturing.packages.freeze or not capturing.news:
        time.sleep(0.01)
