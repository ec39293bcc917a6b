"""Trainings whose `sys.executable` cannot be run as a Python: the processes that they start and do not start."""

from __future__ import annotations

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags, scalars
from tests.end_to_end.processes import Finished, wait_for

SCRIPT = """
import pathlib, sys
{before}
program = pathlib.Path("program").absolute()
program.write_text("#!/bin/sh\\necho once more >> " + str(program.with_name("runs")))
program.chmod(0o755)
{executable}
import mlflow
with mlflow.start_run():
    for step in range(10):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    print("trained")
"""


def is_mirrored(place: Place, server: ClearMLServer, done: Finished) -> None:
    """Assert that the run has its whole Task, and that the training's program was not run for it."""
    assert (done.code, done.stdout) == (0, "trained\n"), done.stderr
    run = place.the_run()
    task = ended(server, run.info.run_id)
    assert task["status"] == "completed"
    assert scalars(server, task["id"]) == place.points(run.info.run_id)
    assert link_tags(run)["state"] == "synced"
    assert not (place.folder / "runs").exists()
    wait_for(lambda: not place.left_behind())


def test_a_frozen_program_has_a_thread(place: Place, server: ClearMLServer) -> None:
    """As PyInstaller, cx_Freeze and others make it: to run `sys.executable` is to train a second time."""
    frozen = "sys.frozen, sys.executable = True, str(program)"
    done = place.run(SCRIPT.format(before="", executable=frozen), fresh=True)
    is_mirrored(place, server, done)
    notice, link = done.agent_lines
    assert f"{place.folder / 'program'} is not a Python interpreter, so the worker is a thread of it" in notice
    assert "is ClearML Task" in link


@pytest.mark.parametrize("executable", ["str(program)", "''", "None", "'/nowhere/bin/python'"])
def test_an_embedded_interpreter_has_the_process_of_its_installation(
    place: Place, server: ClearMLServer, executable: str
) -> None:
    """As under uWSGI; and where the interpreter's file was removed meanwhile."""
    script = SCRIPT.format(before="", executable=f"import mlflow; sys.executable = {executable}")
    done = place.run(script)
    is_mirrored(place, server, done)
    assert len(done.agent_lines) == 1, done.stderr


def test_a_debugger_that_follows_subprocesses_leaves_the_worker_alone(place: Place, server: ClearMLServer) -> None:
    """debugpy rewrites the command lines of Pythons that are started, so that they connect to it."""
    pytest.importorskip("debugpy")
    before = "import debugpy; debugpy.listen(('127.0.0.1', 0))"
    done = place.run(SCRIPT.format(before=before, executable=""), fresh=True)
    is_mirrored(place, server, done)
    assert len(done.agent_lines) == 1, done.stderr
