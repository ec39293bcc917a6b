"""`autoinstrument reproduce --run` runs a captured program again: its run has the same parameters and code.

The two runs are compared as by `autoinstrument diff`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from mlflow.entities import Run

from tests.end_to_end.harness import Place, ended
from tests.end_to_end.notebook import run_cells
from tests.end_to_end.processes import Finished
from tests.end_to_end.test_way_back import ARGPARSE, CHILD, HYDRA, OF_SRC, WORDS

BESIDE = "from helper import NAME\nfrom fresh import MORE\n" + ARGPARSE + "print(NAME, MORE, args.data)\n"
LR = ("--lr", "0.2", "--layers", "16", "4", "--fast", "train", "my data.csv", "--steps", "1")


@pytest.fixture
def repository(place: Place) -> Place:
    """A place whose folder is a Git repository with a remote."""
    place.git("init", "-q", "-b", "main")
    place.git("init", "-q", "--bare", str(place.root / "remote.git"))
    place.git("remote", "add", "origin", str(place.root / "remote.git"))
    place.write("README", "a repository")
    return place


def commit(place: Place) -> None:
    place.git("add", "-A")
    place.git("commit", "-q", "-m", "Work")
    place.git("push", "-q", "-u", "origin", "HEAD")


def train(place: Place, *command: str) -> Run:
    done = place.run("", command=list(command))
    assert done.code == 0, done.stderr
    return place.mlflow_runs()[0]


def again(place: Place, run: Run, *differing: str) -> Finished:
    """Reproduce a run without its folder; the new one differs from it in these sections only."""
    assert place.server is not None
    ended(place.server, run.info.run_id)
    shutil.rmtree(place.folder)
    place.folder.mkdir()
    words = ("reproduce", run.info.run_id[:8], "--run", "--folder", "x", "--python", place.python)
    done = place.command(*words, AUTOINSTRUMENT_ENABLED="1")
    assert done.code == 0, done.stderr
    top = [run for run in place.mlflow_runs() if "mlflow.parentRunId" not in run.data.tags]
    assert len(top) == 2
    ended(place.server, top[-1].info.run_id)
    found = place.command("diff", top[0].info.run_id, top[-1].info.run_id, "--json")
    assert found.stdout, found.stderr
    sections = {one["section"] for one in json.loads(found.stdout) if one["name"] != "branch"}  # no branch, the commit
    assert sections == set(differing), found.stdout
    return done


def test_a_script_with_uncommitted_changes_and_new_files(repository: Place) -> None:
    repository.write("train.py", "raise SystemExit('committed')\n")
    repository.write("helper.py", "NAME = 'committed'\n")
    commit(repository)
    repository.write("train.py", BESIDE)
    repository.write("helper.py", "NAME = 'changed'\n")
    repository.write("fresh.py", "MORE = 'new'\n")
    done = again(repository, train(repository, "train.py", *LR))
    assert "changed new my data.csv\n" in done.stdout


def test_a_module_and_its_arguments(repository: Place) -> None:
    repository.write("src/pkg/__init__.py", "")
    repository.write("src/pkg/words.py", WORDS)
    commit(repository)
    repository.environ["PYTHONPATH"] = str(repository.folder / "src")
    run = train(repository, "-m", "pkg.words", "--lr", "0.2", "a b", "it's")
    del repository.environ["PYTHONPATH"]
    again(repository, run)


def test_a_module_of_a_src_folder_reads_a_file_where_it_was_started(repository: Place) -> None:
    for name, text in {"__init__": "NAME = 'committed'\n", "__main__": OF_SRC, "child": CHILD}.items():
        repository.write(f"src/package/{name}.py", text)
    repository.write("configs/train.yaml", "lr: 1")
    commit(repository)
    repository.write("src/package/__init__.py", "NAME = 'uncommitted'\n")
    repository.environ["PYTHONPATH"] = str(repository.folder / "src")
    run = train(repository, "-m", "package", "--config", "configs/train.yaml")
    del repository.environ["PYTHONPATH"]
    assert run.data.params["child"] == "uncommitted lr: 1"
    again(repository, run)


def test_hydra(repository: Place) -> None:
    pytest.importorskip("hydra")
    repository.write("hydrated.py", HYDRA)
    repository.write("config.yaml", "optimizer:\n  lr: 0.1\ndepth: 3\n")
    repository.write(".gitignore", "outputs\n")
    commit(repository)
    again(repository, train(repository, "hydrated.py", "optimizer.lr=0.2"))


def test_a_notebook(repository: Place, tmp_path: Path) -> None:
    repository.write("helper.py", "NAME = 'from a module'\n")
    commit(repository)
    cells = (
        "import mlflow, helper\n%time depth = 3",
        "with mlflow.start_run():\n    mlflow.log_param(helper.NAME, depth)",
    )
    run_cells(repository, tmp_path, *cells)
    (run,) = repository.mlflow_runs()
    again(repository, run, "code", "package")  # the cells are a file now, and there is no kernel


def test_several_files_without_git(place: Place) -> None:
    place.write(
        "helper.py", "import mlflow\ndef log(lr):\n    with mlflow.start_run():\n        mlflow.log_param('lr', lr)\n"
    )
    place.write("loose.py", "import sys, helper\nhelper.log(sys.argv[1])\nprint('ran', *sys.argv[1:])\n")
    done = again(place, train(place, "loose.py", "0.5"))
    assert "ran 0.5\n" in done.stdout
