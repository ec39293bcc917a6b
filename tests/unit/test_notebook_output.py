"""How and when a notebook shows a line; a real kernel is in tests/startup/test_jupyter.py."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest
from IPython.core.interactiveshell import InteractiveShell

from autoinstrument import notebook_output
from autoinstrument.agent.run_log import TaskLine


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    """A shell without a page: what it displays is printed."""
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def test_a_line_waits_for_the_next_cell(shell: InteractiveShell) -> None:
    written: list[str] = []
    notebook_output.show(lambda: written.append("first"), "first")
    notebook_output.show(lambda: written.append("second"), "second")
    assert written == []
    shell.run_cell("1")
    assert written == ["first", "second"]
    shell.run_cell("2")
    assert written == ["first", "second"]


def test_a_line_of_a_thread_is_shown_in_the_cell_that_runs(shell: InteractiveShell) -> None:
    written: list[str] = []
    thread = threading.Thread(target=notebook_output.show, args=(lambda: written.append("now"), "now"))
    shell.push({"thread": thread, "written": written})
    assert shell.run_cell("thread.start(); thread.join(); assert written == ['now']").success


def test_a_line_is_not_put_into_the_users_variable(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    def show() -> None:
        notebook_output.show(lambda: None, "run is Task", "run is <b>Task</b>")

    shell.push({"show": show})
    assert shell.run_cell("%%capture captured\nshow()\nprint('mine')").success
    assert shell.run_cell("assert not captured.outputs\nassert captured.stdout == 'mine\\n'").success
    assert "run is Task" in capsys.readouterr().out


def test_without_a_shell_a_line_is_written_at_once() -> None:
    assert sys.modules["IPython"].get_ipython() is None
    written: list[str] = []
    notebook_output.show(lambda: written.append("now"), "now", "<b>now</b>")
    assert written == ["now"]


def test_an_address_that_is_not_a_page_is_not_a_link() -> None:
    html = TaskLine("a & b", "0" * 32, "javascript:alert(1)")._repr_html_()
    assert html == f"autoinstrument: run a &amp; b javascript:alert(1) → ClearML Task {'0' * 32}"


def test_a_kernel_without_ipython_shows_a_line_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """marimo's kernel does not import IPython."""
    monkeypatch.delitem(sys.modules, "IPython")
    written: list[str] = []
    notebook_output.show(lambda: written.append("now"), "now")
    assert written == ["now"]
