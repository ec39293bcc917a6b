"""A Task is cloned, edited, queued, and run by the real `clearml-agent`: a second MLflow run, linked to the clone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.harness import Place, ended, link_tags, properties, scalars, section, task_of
from tests.end_to_end.notebook import run_cells
from tests.end_to_end.remote import Remote
from tests.unit.capture.hydra_launcher import LAUNCHER

ARGPARSE = """
import argparse
import mlflow

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--layers", type=int, nargs="+", default=[8])
parser.add_argument("--fast", action="store_true")
commands = parser.add_subparsers(dest="command")
train = commands.add_parser("train")
train.add_argument("data")
train.add_argument("--steps", type=int, default=2)
args = parser.parse_args()
with mlflow.start_run():
    mlflow.log_params(vars(args))
    for step in range(args.steps):
        mlflow.log_metric("loss", 1 - args.lr * step, step=step)
    with mlflow.start_run(run_name="child", nested=True):
        mlflow.log_metric("depth", 1.0)
print("trained with", args.lr)
"""

HYDRA = """
import hydra
import mlflow

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(config):
    with mlflow.start_run():
        mlflow.log_param("lr", config.optimizer.lr)
        mlflow.log_param("depth", config.depth)

main()
"""

PLAIN = """
import mlflow

with mlflow.start_run():
    mlflow.log_param("plain", 1)
"""

CLICK = """
import subprocess, sys
import click
import mlflow

@click.command()
@click.option("--lr", type=float, default=0.1)
@click.option("--fast/--slow")
@click.argument("data", nargs=-1)
def main(**values):
    helper = [sys.executable, "-c", "import sys; print('helper', sys.argv[1:])", "--its=own"]
    print(subprocess.run(helper, capture_output=True, text=True).stdout)
    with mlflow.start_run():
        mlflow.log_params(values)

main()
"""

WORDS = """
import sys
import mlflow

with mlflow.start_run():
    mlflow.log_param("words", sys.argv[1:])
"""


OF_SRC = """
import argparse, os, subprocess, sys
from pathlib import Path
import mlflow
from package import NAME

parser = argparse.ArgumentParser()
parser.add_argument("--config")
args = parser.parse_args()
child = [sys.executable, "-m", "package.child"]
with mlflow.start_run():
    mlflow.log_param("config", Path(args.config).read_text())
    mlflow.log_param("name", NAME)
    mlflow.log_param("child", subprocess.run(child, capture_output=True, text=True).stdout)
    mlflow.log_param("place", Path.cwd() == Path(__file__).parents[2])
"""
CHILD = """
from pathlib import Path
from package import NAME

print(NAME, Path("configs/train.yaml").read_text(), end="")
"""


def test_a_clone_with_one_changed_argument(remote: Remote) -> None:
    """Run, clone, change, queue, execute: the changed value is seen, all others are as they were; both link."""
    place, server, experiment = remote.place, remote.server, "team/way-back"
    remote.commit({"train.py": ARGPARSE})
    place.write("train.py", ARGPARSE + "print('not committed')\n")
    arguments = ("--lr", "0.2", "--layers", "16", "4", "--fast", "train", "data.csv", "--steps", "3")
    origin, source = remote.train(*arguments, command=["train.py"], experiment=experiment)

    clone = remote.clone(source, Args__lr="0.5")
    task = remote.ended(clone)

    run = remote.run(clone)
    expected = {**origin.data.params, "lr": "0.5"}
    assert run.data.params == expected, server.console(clone)
    assert run.info.experiment_id == origin.info.experiment_id
    assert task["status"] == "completed"
    assert task["parent"] == source["id"]
    assert properties(task)["mlflow_run_id"] == run.info.run_id
    assert section(task, "MLflow") == expected
    assert scalars(server, clone) == place.points(run.info.run_id)
    assert server.console(clone).count("trained with 0.5") == 1
    assert "not committed" in server.console(clone)
    assert link_tags(run) == {
        "task_id": clone,
        "task_url": link_tags(run)["task_url"],
        "state": "synced",
        "cloned_from": source["id"],
        "cloned_from_run": origin.info.run_id,
        "changed": "Args/lr: 0.2 -> 0.5",
    }
    child = next(task for task in server.tasks if task.get("parent") == clone)
    assert (child["name"], child["status"]) == ("child", "completed")

    second = remote.clone(task, Args__steps="1")  # a clone of the clone
    remote.ended(second)

    assert remote.run(second).data.params == {**expected, "steps": "1"}, server.console(second)
    tags = link_tags(remote.run(second))
    assert (tags["cloned_from"], tags["cloned_from_run"]) == (clone, run.info.run_id)
    assert tags["changed"] == "Args/steps: 3 -> 1"


def test_a_module(remote: Remote) -> None:
    """`python -m package.train`, with arguments; the tag lists the changes, packages and container included."""
    script = ARGPARSE.replace("args.steps", "2")
    remote.commit({"pkg/__init__.py": "", "pkg/train.py": script})
    _, source = remote.train("--lr", "0.2", command=["-m", "pkg.train"], experiment="module")
    clone = str(remote.call("tasks.clone", task=source["id"])["id"])
    items = [{"section": "Args", "name": name, "value": value} for name, value in (("lr", "0.7"), ("fast", "True"))]
    remote.call("tasks.edit_hyper_params", task=clone, hyperparams=items)
    changed = {**source["script"], "requirements": {"pip": source["script"]["requirements"]["pip"] + "more==1\n"}}
    remote.call("tasks.edit", task=clone, script=changed, container={"image": "python:3.11"})
    remote.call("tasks.enqueue", task=clone)
    remote.ended(clone)
    params = remote.run(clone).data.params
    assert (params["lr"], params["fast"], params["layers"]) == ("0.7", "True", "[8]")
    assert link_tags(remote.run(clone))["changed"].splitlines() == [
        "Args/fast: False -> True", "Args/lr: 0.2 -> 0.7", "package more: (none) -> 1",
        "container image: (none) -> python:3.11",
    ]  # fmt: skip


def test_a_module_of_a_src_folder(remote: Remote) -> None:
    """A clone starts where the module was started, with its uncommitted changes, and so do the processes below it."""
    files = {"__init__.py": "", "__main__.py": OF_SRC, "child.py": CHILD}
    remote.commit({f"src/package/{name}": text for name, text in files.items()} | {"configs/train.yaml": "lr: 1"})
    remote.place.write("src/package/__init__.py", "NAME = 'uncommitted'\n")
    remote.place.environ["PYTHONPATH"] = str(remote.place.folder / "src")  # as `pip install -e .` puts it on the path
    words = ("--config", "configs/train.yaml")
    origin, source = remote.train(*words, command=["-m", "package"], experiment="src")
    del remote.place.environ["PYTHONPATH"]
    expected = {"config": "lr: 1", "name": "uncommitted", "child": "uncommitted lr: 1", "place": "True"}
    assert origin.data.params == expected
    assert source["script"]["working_dir"] == "src"

    clone = remote.clone(source)
    assert remote.ended(clone)["status"] == "completed", remote.server.console(clone)
    assert remote.run(clone).data.params == expected


def test_hydra(remote: Remote) -> None:
    """An override is changed in the section `Hydra`, and another one added; or the whole configuration is edited."""
    pytest.importorskip("hydra")
    config = "optimizer:\n  lr: 0.1\ndepth: 3\n"
    remote.commit({"hydrated.py": HYDRA, "config.yaml": config, ".gitignore": "outputs\n"})
    _, source = remote.train("optimizer.lr=0.2", command=["hydrated.py"], experiment="hydra")
    assert section(source, "Hydra") == {"optimizer.lr": "0.2", "_allow_omegaconf_edit_": "False"}
    assert source["configuration"]["OmegaConf"]["value"] == "optimizer:\n  lr: 0.2\ndepth: 3\n"
    clone = remote.clone(source, **{"Hydra__optimizer.lr": "0.6", "Hydra__depth": "5"})
    remote.ended(clone)
    assert remote.run(clone).data.params == {"lr": "0.6", "depth": "5"}
    whole = "optimizer:\n  lr: 0.7\ndepth: 8\n"
    clone = remote.clone(source, {"OmegaConf": whole}, Hydra___allow_omegaconf_edit_="True")
    remote.ended(clone)
    run = remote.run(clone)
    assert run.data.params == {"lr": "0.7", "depth": "8"}
    assert run.data.tags["clearml.changed"] == (
        "Hydra/_allow_omegaconf_edit_: False -> True\nconfiguration OmegaConf: edited"
    )


@pytest.mark.parametrize("launcher", ["basic", "process"])
def test_a_job_of_a_hydra_sweep(remote: Remote, launcher: str) -> None:
    """Each job's Task has the job's own overrides, also if the job ran in a separate process; its clone is that job."""
    pytest.importorskip("hydra")
    files = {"swept.py": HYDRA, "config.yaml": "optimizer:\n  lr: 0.1\ndepth: 3\n", ".gitignore": "multirun\noutputs\n"}
    remote.commit({**files, "hydra_plugins/process.py": LAUNCHER, "README": launcher})
    experiment = f"sweep {launcher}"
    remote.place.client.create_experiment(experiment)  # two jobs at once would both make it, and one would fail
    sweep = ("--multirun", "optimizer.lr=0.8,0.9", "depth=5", f"hydra/launcher={launcher}")
    done = remote.place.run("", *sweep, command=["swept.py"], MLFLOW_EXPERIMENT_NAME=experiment)
    assert done.code == 0, done.stderr
    jobs = {run.data.params["lr"]: ended(remote.server, run.info.run_id) for run in remote.runs(experiment)}
    assert sorted(jobs) == ["0.8", "0.9"]
    for lr, task in jobs.items():
        assert section(task, "Hydra") == {"optimizer.lr": lr, "depth": "5", "_allow_omegaconf_edit_": "False"}
        assert section(task, "Args").get("multirun", "False") == "False"
        assert (task["script"]["entry_point"], task["script"]["working_dir"]) == ("swept.py", ".")
    clone = remote.clone(jobs["0.9"])
    remote.ended(clone)
    assert remote.run(clone).data.params == {"lr": "0.9", "depth": "5"}
    assert len(remote.runs(experiment)) == 3


def test_a_click_command(remote: Remote) -> None:
    """One option is changed and another one added; programs that the script starts keep their own arguments."""
    remote.commit({"clicked.py": CLICK})
    _, source = remote.train("--lr", "0.2", "a b", command=["clicked.py"], experiment="click")
    assert section(source, "Args") == {"lr": "0.2", "fast": "False", "data": "('a b',)"}
    assert source["script"]["entry_point"] == "clicked.py"
    clone = remote.clone(source, Args__lr="0.3", Args__fast="True", Args__data="('c d', 'e')")
    remote.ended(clone)
    assert remote.run(clone).data.params == {"lr": "0.3", "fast": "True", "data": "('c d', 'e')"}
    assert "helper ['--its=own']" in remote.server.console(clone)


def test_a_command_line_that_no_supported_parser_reads(remote: Remote) -> None:
    """`Args/argv` is the line, and can be edited."""
    remote.commit({"words.py": WORDS})
    _, source = remote.train("--lr", "0.2", "a b", command=["words.py"], experiment="words")
    assert section(source, "Args") == {"argv": "--lr 0.2 'a b'"}
    clone = remote.clone(source, Args__argv="--lr 0.3 'c d' e")
    remote.ended(clone)
    assert remote.run(clone).data.params == {"words": "['--lr', '0.3', 'c d', 'e']"}


def test_several_files_outside_of_git(remote: Remote) -> None:
    """Files that no repository holds travel with the Task: the agent runs the script and the module beside it."""
    folder = remote.place.root / "loose"
    folder.mkdir()
    call = "import mlflow\n\ndef log(args):\n    with mlflow.start_run():\n        mlflow.log_param('lr', args.lr)\n"
    (folder / "helper.py").write_text(call)
    (folder / "loose.py").write_text(
        "import argparse\nimport helper\nparser = argparse.ArgumentParser()\n"
        "parser.add_argument('--lr')\nhelper.log(parser.parse_args())\n"
    )
    _, source = remote.train("--lr", "0.2", command=[str(folder / "loose.py")], experiment="loose")
    assert (source["script"].get("repository", ""), source["script"]["entry_point"]) == ("", "loose.py")
    clone = remote.clone(source, Args__lr="0.7")
    remote.ended(clone)
    assert remote.run(clone).data.params == {"lr": "0.7"}


def test_a_notebook(remote: Remote, tmp_path: Path) -> None:
    """Its cells are the script that the agent runs."""
    remote.commit({"README": "a notebook's repository"})
    cells = ("import mlflow", "with mlflow.start_run():\n    mlflow.log_param('cell', 2)")
    run_cells(remote.place, tmp_path, *cells, MLFLOW_EXPERIMENT_NAME="notebook")
    (origin,) = remote.runs("notebook")
    source = ended(remote.server, origin.info.run_id)
    clone = remote.clone(source)
    remote.ended(clone)
    assert remote.run(clone).data.params == {"cell": "2"}
    assert link_tags(remote.run(clone))["changed"] == "nothing"


def test_settings_of_the_agents_machine_win(remote: Remote) -> None:
    """`AUTOINSTRUMENT_ENABLED=0` on the agent's machine wins; so does its tracking URI."""
    place, experiment = remote.place, "no"
    remote.commit({"no.py": PLAIN})
    origin, source = remote.train(command=["no.py"], experiment=experiment)
    clone = str(remote.call("tasks.clone", task=source["id"])["id"])
    variables = {"MLFLOW_TRACKING_URI": place.uri, "MLFLOW_EXPERIMENT_NAME": experiment}
    remote.execute(clone, AUTOINSTRUMENT_ENABLED="0", **variables)
    (run,) = [run for run in remote.runs(experiment) if run.info.run_id != origin.info.run_id]
    assert link_tags(run) == {}
    assert remote.server.task(clone)["status"] == "completed"


def test_a_command_that_is_queued_without_running_it_here(remote: Remote) -> None:
    """`autoinstrument remote`: nothing runs here, and the agent's run is linked to the Task."""
    remote.commit({"queued.py": ARGPARSE, "requirements.txt": "mlflow\n"})
    line = ("remote", "--queue", "default", "--", "python", "queued.py", "--lr", "0.3", "train", "d.csv")
    done = remote.place.command(*line, MLFLOW_EXPERIMENT_NAME="queued")
    assert done.code == 0, done.stderr
    task_id = done.stdout.split()[0]
    pip = remote.server.task(task_id)["script"]["requirements"]["pip"]
    assert pip.startswith("mlflow\nautoinstrument==")
    assert remote.ended(task_id)["status"] == "completed"
    run = remote.run(task_id)
    assert (run.data.params["lr"], run.data.params["data"]) == ("0.3", "d.csv")
    assert [run.info.run_id] == [run.info.run_id for run in remote.runs("queued")]


UNPUSHED = """
import sys
import mlflow
from helper import NAME

with mlflow.start_run():
    mlflow.log_param("name", NAME)
print("on the agent", *sys.argv[1:])
sys.exit(3)
"""


def test_waiting_for_a_task_with_unpushed_commits(remote: Remote) -> None:
    """The console comes here, and the exit code is that of the agent's program."""
    remote.commit({"README": "unpushed"})
    remote.place.write("unpushed.py", UNPUSHED)
    remote.place.git("add", "-A")
    remote.place.git("commit", "-q", "-m", "Not pushed")
    remote.place.write("helper.py", "NAME = 'not committed'\n")
    remote.start_daemon()
    words = ("remote", "--queue", "default", "--wait", "--packages", "mlflow", "--", "unpushed.py", "--lr", "0.1")
    done = remote.place.command(*words, MLFLOW_EXPERIMENT_NAME="unpushed")
    assert done.code == 3, done.stderr
    assert "on the agent --lr 0.1\n" in done.stdout
    assert done.stderr.splitlines()[-1] == "the Task has failed: worker execution exit code 3"
    (run,) = remote.runs("unpushed")
    assert run.data.params == {"name": "not committed"}


def test_a_queue_that_is_refused_leaves_no_task(own_place: Place, own_server: ClearMLServer) -> None:
    own_place.write("train.py", "print()\n")
    own_server.faults.add(Fault("tasks.enqueue", status=400))
    done = own_place.command("remote", "--queue", "x", "--", "python", "train.py")
    assert done.code == 1
    assert done.stderr.splitlines()[-1].startswith("nothing was queued: tasks.enqueue: 400")
    assert not own_server.tasks


def test_a_program_that_starts_others(remote: Remote) -> None:
    """The first run takes over the agent's Task, and runs of other processes have Tasks of their own."""
    driver = "import subprocess, sys\nfor _ in range(2): subprocess.run([sys.executable, 'part.py'], check=True)\n"
    remote.commit({"driver.py": driver, "part.py": PLAIN})
    done = remote.place.command("remote", "--queue", "default", "--", "driver.py", MLFLOW_EXPERIMENT_NAME="parts")
    task_id = done.stdout.split()[0]
    assert remote.ended(task_id)["status"] == "completed"
    first, second = remote.runs("parts")
    assert link_tags(first)["task_id"] == task_id
    assert properties(remote.server.task(task_id))["mlflow_run_id"] == first.info.run_id
    assert task_of(remote.server, second.info.run_id)["status"] == "completed"
