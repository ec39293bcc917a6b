"""`run` where a process cannot become another one: it waits, and exits as the command did."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from click.testing import CliRunner

from autoinstrument.cli import main
from autoinstrument.cli.tracing import wait


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ((sys.executable, "-S", "-c", "import sys; sys.exit(7)"), 7),
        ((sys.executable, "-S", "-c", "pass"), 0),
        (("no-such-command",), 127),
    ],
)
def test_the_exit_code_on_windows(monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], code: int) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert CliRunner().invoke(main, ["run", "--", *command]).exit_code == code


def test_the_command_handles_an_interruption() -> None:
    class Interrupted:
        """A process that ends after Ctrl-C was pressed twice."""

        waits = 0

        def wait(self) -> int:
            self.waits += 1
            if self.waits < 3:
                raise KeyboardInterrupt
            return 130

    process: Any = Interrupted()
    assert wait(process) == 130
    with subprocess.Popen([sys.executable, "-S", "-c", "raise SystemExit(3)"]) as real:
        assert wait(real) == 3
