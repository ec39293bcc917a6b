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
