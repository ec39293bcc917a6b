"""Every command of README and docs that can run here does, and prints what the page says."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.documentation.pages import Command, blocks, commands, matches, unmarked
from tests.end_to_end.hand_over import PROGRAMS
from tests.end_to_end.harness import Place
from tests.startup.environment import ROOT

_ELSEWHERE = {"orchestration.md", "queue.md"}  # an agent, a queue and two machines: tests/end_to_end/test_way_back.py
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name not in _ELSEWHERE)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_is_run_or_has_a_reason(page: Path) -> None:
    """The examples of commands.md are those of `--help`, which tests/unit/cli/test_help.py parses."""
    assert page.name == "commands.md" or unmarked(page) == []
    commands(page)


@pytest.mark.parametrize("page", [*PAGES, *(ROOT / "docs" / name for name in _ELSEWHERE)], ids=lambda page: page.stem)
def test_every_other_block_is_in_its_language(page: Path) -> None:
    for text in blocks(page, "python"):
        ast.parse(re.sub(r"^%", "# %", text, flags=re.M))  # a line of IPython
    for text in blocks(page, "yaml"):
        list(yaml.safe_load_all(text))
    for text in blocks(page, "json"):
        json.loads(text)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
def test_commands_print_what_the_page_shows(page: Path, place: Place) -> None:
    """One shell for a page, in a Git repository with `train.py`, the environment activated and the servers at hand."""
    for name, example in (("train.py", "train_loop.py"), ("train_sklearn.py", "train_sklearn.py")):
        shutil.copy(ROOT / "examples" / example, place.folder / name)
    for folder in ("sitecustomize_template", "examples"):
        shutil.copytree(ROOT / folder, place.folder / folder)
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        place.git(*arguments)
    todo = commands(page)
    outputs = place.root / "outputs"
    outputs.mkdir()
    lines = []
    for number, command in enumerate(todo):
        # The command runs in the shell itself, so that `export` and `cd` last; `$?` is that of the previous one.
        file = outputs / str(number)
        lines.append(f"(exit ${{code:-0}})\n{{ {command.text}\n}} > {file}.out 2> {file}.err\ncode=$?\n")
        lines.append(f"echo $code > {file}.code\n")
    folders = [str(Path(place.python).parent), str(Path(sys.executable).parent), os.environ["PATH"]]
    environ = place.environment(agent=False, PATH=os.pathsep.join(folders), COLUMNS="120")
    environ |= {"AUTOINSTRUMENT_HOME": str(place.home), "AUTOINSTRUMENT_EXIT_TIMEOUT": "120"}
    environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", PROGRAMS: "1"}
    subprocess.run(["bash", "-c", "".join(lines)], cwd=place.folder, env=environ, check=False, stdin=subprocess.DEVNULL)
    problems = []
    for number, (command, following) in enumerate(zip(todo, [*todo[1:], Command(0, "", None)], strict=True)):
        printed = "".join((outputs / f"{number}.{stream}").read_text(errors="replace") for stream in ("out", "err"))
        code = (outputs / f"{number}.code").read_text().strip()
        if code != "0" and following.text != "echo $?":
            problems.append(f"{page.name}:{command.line}: exit code {code} of: {command.text}\n{printed[-1500:]}")
        elif command.output is not None and not matches(command.output, printed):
            problems.append(
                f"{page.name}:{command.line}: {command.text}\n--- page\n{command.output}--- printed\n{printed}"
            )
    assert not problems, "\n\n".join(problems)
