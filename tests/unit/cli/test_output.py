"""Commands draw on a terminal, and write plain lines anywhere else."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from autoinstrument.cli.output import Link, progress, table, wrapped

pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals")

SCRIPT = """
import click
from autoinstrument.cli.output import progress, table
with progress("syncing", 2) as advance:
    for name, is_problem in (("[red]one", False), ("two", True)):
        click.echo(f"done {name} {'z' * 100}", err=is_problem)
        advance(name)
table(["run", "points"], [["[b]x[/b]", 3], ["y" * 200, 10]], title="all")
"""


def on_terminal(**environ: str) -> str:
    """Return what the script writes to a terminal of 80 columns."""
    parent_end, child_end = pty.openpty()
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", **environ}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdin=child_end, stdout=child_end, stderr=child_end, env=environ
    )
    os.close(child_end)
    written = b""
    try:
        while block := os.read(parent_end, 65536):
            written += block
    except OSError:  # the other side is closed
        pass
    os.close(parent_end)
    assert process.wait(60) == 0, written.decode()
    return written.decode()


def test_a_pipe_gets_plain_lines(capfd: pytest.CaptureFixture[str]) -> None:
    with progress("syncing", 1) as advance:
        advance("x")
    table(["run", "points"], [["[b]x[/b]", 3], ["y", 10]], title="all")
    out, err = capfd.readouterr()
    assert out.splitlines() == ["all", "run       points", "[b]x[/b]       3", "y             10"]
    assert err == ""


def test_names_are_shortened_so_that_a_row_fits(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    address = Link("http://clearml/" + "x" * 80, "abcd1234")
    table(["run", "experiment", "Task"], [["r" * 60, "short", address]], shortened=("run", "experiment"))
    table(["run", "Task"], [["r" * 60, address]], shortened=("run",), plain=True)
    assert capfd.readouterr().out.splitlines() == [
        f"run{' ' * 15}  experiment  Task",
        f"{'r' * 16}..  short       abcd1234",
        f"run{' ' * 27}  Task",
        f"{'r' * 28}..  abcd1234",
    ]


def test_a_name_is_one_line_that_moves_no_cursor(capfd: pytest.CaptureFixture[str]) -> None:
    """Anybody who may write to MLflow chooses names, and a terminal obeys escape sequences in them."""
    table(["run", "a\x1b[2J"], [["x\ny", Link("http://x", "\x9b1A")]], shortened=("run", "a\x1b[2J"))
    assert capfd.readouterr().out.splitlines() == [r"run  a\x1b[2J", r"x y  \x9b1A"]
    assert Link("http://\x1b]0;x\x07", "") == r"http://\x1b]0;x\x07"
    assert wrapped("a\x1b[2J\nb") == r"a\x1b[2J b"


@pytest.mark.interpreter
@pytest.mark.parametrize("environ", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["colour", "NO_COLOR", "dumb"])
def test_a_terminal_gets_a_bar_and_a_table(environ: dict[str, str]) -> None:
    """Names are not read as markup; lines are whole, above the bar; a dumb terminal does not count as one."""
    written = on_terminal(**environ)
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line.rpartition("\x1b[2K")[2]) for line in written.splitlines()]
    assert {f"done [red]one {'z' * 100}", f"done two {'z' * 100}"} <= set(lines)
    assert "[b]x[/b]" in written
    assert written.count("y") >= 200  # folded, not cut
    assert ("syncing" in written) == (environ.get("TERM") != "dumb")
    assert ("\x1b[3" in written or "\x1b[1;3" in written) == (not environ)
