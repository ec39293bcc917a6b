"""Arguments, paths and names of files are bytes, which need not be UTF-8."""

from __future__ import annotations

import os

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags, section
from tests.end_to_end.processes import wait_for

C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
SCRIPT = """
import argparse, os, pathlib
import mlflow
parser = argparse.ArgumentParser()
parser.add_argument("--name")
parser.add_argument("rest")
args = parser.parse_args()
folder = pathlib.Path("out")
folder.mkdir()
with open(os.fsencode(folder) + b"/raw\\xff.txt", "w") as file:
    file.write("text")
with mlflow.start_run(run_name="bytes"):
    mlflow.log_param("lr", 0.1)
    mlflow.log_artifacts(folder)
    print("name", args.name)
"""


def test_a_run_of_bytes_has_a_whole_task(own_place: Place, own_server: ClearMLServer) -> None:
    done = own_place.run(SCRIPT, "--name", "ä", os.fsdecode(b"raw\xff"), **C_LOCALE)
    assert (done.code, "autoinstrument: run bytes is ClearML Task" in done.stderr) == (0, True), done.stderr
    run = own_place.the_run()
    task = ended(own_server, run.info.run_id)
    assert task["status"] == "completed"
    assert section(task, "Args") == {"name": "ä", "rest": "raw\\xff"}
    assert [artifact["key"] for artifact in task["execution"]["artifacts"]] == ["raw\\xff.txt"]
    assert "name ä" in own_server.console(task["id"])
    wait_for(lambda: link_tags(own_place.the_run())["state"] == "synced")
    wait_for(lambda: not own_place.workers())
    assert own_place.journals() == []
    verified = own_place.command("verify", **C_LOCALE)
    assert verified.code == 0, verified.stdout + verified.stderr
    synced = own_place.command("sync", "--all", **C_LOCALE)
    assert (synced.code, "unchanged" in synced.stdout) == (0, True), synced.stdout + synced.stderr
    full = own_place.command("sync", "--all", "--full", **C_LOCALE)
    assert full.code == 0, full.stdout + full.stderr
    (again,) = own_server.tasks
    assert again["execution"]["artifacts"] == task["execution"]["artifacts"]


def test_without_a_server_it_is_recorded_and_synced(own_place: Place, own_server: ClearMLServer) -> None:
    own_server.close()
    done = own_place.run(SCRIPT, "--name", "ä", os.fsdecode(b"raw\xff"), **C_LOCALE)
    assert done.code == 0, done.stderr
    wait_for(lambda: not own_place.workers())
    assert len(own_place.journals()) == 1
    own_server.start()
    synced = own_place.command("sync")
    assert synced.code == 0, synced.stdout + synced.stderr
    task = ended(own_server, own_place.the_run().info.run_id)
    assert section(task, "Args") == {"name": "ä", "rest": "raw\\xff"}
    assert "name ä" in own_server.console(task["id"])
