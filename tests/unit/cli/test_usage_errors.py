"""A bad setting is wrong usage of every command that reads settings: one line, exit code 2."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from autoinstrument.cli import main


@pytest.mark.parametrize(
    "command",
    [
        ["status"], ["sync"], ["verify"], ["uninstall", "--purge"], ["remote", "--queue", "q", "train.py"],
        ["run", "--artifacts", "all", "--", "true"],
    ],
    ids=lambda command: command[0],
)  # fmt: skip
def test_a_bad_setting_is_one_line(command: list[str]) -> None:
    done = CliRunner().invoke(main, command, env={"AUTOINSTRUMENT_ARTIFACTS": "all"})
    assert done.exit_code == 2
    assert done.output.splitlines()[-1] == (
        "Error: AUTOINSTRUMENT_ARTIFACTS='all' is not allowed: one of link, upload, off"
    )


@pytest.mark.parametrize(
    "command", [["sync", "--follow", "--dead-after"], ["worker", "stop", "--timeout"]], ids=lambda command: command[0]
)
@pytest.mark.parametrize("value", ["nan", "-nan"])
def test_seconds_are_a_number(command: list[str], value: str) -> None:
    done = CliRunner().invoke(main, [*command, value])
    assert done.exit_code == 2
    assert (
        done.output.splitlines()[-1] == f"Error: Invalid value for '{command[-1]}': {value} is not a number of seconds"
    )
