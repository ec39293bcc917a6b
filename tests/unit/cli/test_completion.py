"""Shells complete commands and options with what `completion` prints."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from autoinstrument.cli import main
from autoinstrument.cli.completion import completion

PROGRAM = Path(sys.executable).with_name("autoinstrument")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_names_the_program(shell: str) -> None:
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0
    assert f"_AUTOINSTRUMENT_COMPLETE={shell}_complete" in done.output


def test_another_shell() -> None:
    assert CliRunner().invoke(completion, ["cmd"]).exit_code == 2


@pytest.mark.interpreter
@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
def test_bash_completes_commands_and_options() -> None:
    script = """
        eval "$(autoinstrument completion bash)"
        for line in "autoinstrument ver" "autoinstrument status --wi"; do
            COMP_WORDS=($line) COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
            _autoinstrument_completion autoinstrument
            echo "${COMPREPLY[@]}"
        done
    """
    environ = {**os.environ, "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=environ, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split() == ["verify", "--wide"], done.stderr
