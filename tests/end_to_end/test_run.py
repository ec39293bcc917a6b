"""`autoinstrument run`: the agent on for one command, which otherwise runs as if it had been started by itself."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended
from tests.end_to_end.processes import PATIENCE_S
from tests.startup.environment import Environment

LOOK = """
import json, os, signal, subprocess, sys
child = "import sys; print([type(finder).__name__ for finder in sys.meta_path].count('AfterImport'))"
print(json.dumps({
    "armed": [type(finder).__name__ for finder in sys.meta_path].count("AfterImport"),
    "child": int(subprocess.run([sys.executable, "-c", child], capture_output=True, text=True).stdout),
    "argv": sys.argv, "prefix": sys.prefix, "pid": os.getpid(), "path": os.environ.get("PYTHONPATH", ""),
    "settings": {key: value for key, value in os.environ.items() if key.startswith(("AUTOINSTRUMENT_", "MLFLOW_HTTP"))},
}))
"""
RUN = ("-m", "autoinstrument", "run")


@pytest.mark.core
def test_one_command_is_mirrored(place: Place, server: ClearMLServer) -> None:
    place.write("train.py", "import mlflow\nwith mlflow.start_run():\n    print('trained')\nraise SystemExit(3)\n")
    done = place.command("run", "--project", "chosen", "--task", "mine", "--", "python", "train.py")
    assert (done.code, done.stdout) == (3, "trained\n")
    assert len(done.agent_lines) == 1
    others = [line for line in done.stderr.splitlines() if line not in done.agent_lines]
    assert all(" INFO mlflow" in line or line.startswith("INFO  [alembic.") for line in others), done.stderr
    task = ended(server, place.the_run().info.run_id)
    assert task["name"] == "mine"
    assert server.project_name(task["project"]) == "chosen"


def test_the_command_gets_only_the_switch(full_environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "look.py").write_text(LOOK)
    options = ("--artifacts", "off", "--")
    seen = full_environment.result(*RUN, *options, "python", "look.py", "--artifacts", "x", "--help", cwd=tmp_path)
    assert (seen["armed"], seen["child"], seen["path"]) == (1, 1, "")
    assert seen["argv"] == ["look.py", "--artifacts", "x", "--help"]
    assert seen["prefix"] == str(full_environment.folder)
    settings = {name: value for name, value in seen["settings"].items() if name != "AUTOINSTRUMENT_WORKER_LINGER"}
    assert settings == {"AUTOINSTRUMENT_ENABLED": "1", "AUTOINSTRUMENT_ARTIFACTS": "off"}  # that one is the tests' own


def test_an_environment_without_start_up_files_is_enough(full_environment: Environment, tmp_path: Path) -> None:
    """Also if the package is in a folder on PYTHONPATH (`pip install --target`)."""
    environment = full_environment.copy(tmp_path / "venv")
    for file in environment.site_packages.glob("autoinstrument-init.*"):
        file.unlink()
    (tmp_path / "look.py").write_text(LOOK)
    seen = environment.result(*RUN, "python", "look.py", cwd=tmp_path)
    assert (seen["armed"], seen["child"]) == (1, 1)
    shutil.move(environment.site_packages / "autoinstrument", tmp_path / "target" / "autoinstrument")
    env = {"PYTHONPATH": str(tmp_path / "target")}
    seen = environment.result(*RUN, "python", "look.py", cwd=tmp_path, env=env)
    assert (seen["armed"], seen["child"]) == (1, 1)
    assert seen["path"].split(os.pathsep)[1:] == [str(tmp_path / "target")]


def test_the_process_becomes_the_command(place: Place) -> None:
    """The same process, with the command's own reaction to signals, those that Python ignores included."""
    environment = place.environment(agent=False)
    command = [place.python, *RUN, "sh", "-c", "echo $$; kill -PIPE $$"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, cwd=place.folder, text=True)
    assert process.communicate(timeout=PATIENCE_S)[0] == f"{process.pid}\n"
    assert process.returncode == -signal.SIGPIPE


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--", "no-such-command"), 127, "no-such-command: there is no such command"),
        (("--", "./train.py"), 126, "./train.py: Permission denied"),
        (("--artifacts", "banana", "--", "python"), 2, "one of link, upload, off"),
        (("--project", "{nothing}", "--", "python"), 2, "{experiment}"),
        ((), 2, "Missing argument"),
    ],
)
def test_a_command_that_cannot_be_run_is_one_clear_line(
    place: Place, arguments: tuple[str, ...], code: int, words: str
) -> None:
    place.write("train.py", "")
    done = place.command("run", *arguments)
    assert (done.code, done.stdout) == (code, "")
    assert words in done.stderr.splitlines()[-1]
