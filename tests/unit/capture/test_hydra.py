"""A job of a Hydra sweep has the arguments that run it alone. Tested with real sweeps, in separate processes."""

from __future__ import annotations

import json

import pytest

from tests.unit.capture.hydra_launcher import LAUNCHER
from tests.unit.repositories import ROOT

pytest.importorskip("hydra")
pytestmark = pytest.mark.interpreter

TRAIN = """
import argparse, json
from autoinstrument.integrations.argparse_values import watch
watch(argparse)
import hydra
from autoinstrument.capture.process import Changes, program_now

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(config):
    program = program_now()
    arguments = {name: value for name, value, _ in program.get("arguments", Changes().describe().arguments)}
    print(json.dumps([program.get("main_path"), arguments]) + "\\n", end="", flush=True)  # jobs share the stream
    return config.lr

main()
"""


@pytest.fixture
def jobs(tmp_path, run):
    """Sweep, and return what each job has found: the path of its own program, and its arguments."""
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "config.yaml").write_text("lr: 0.1\ndepth: 3\ndb: {password: x}\n")

    def jobs(*arguments):
        printed = run("train.py", *arguments, cwd=tmp_path).splitlines()
        return [json.loads(line) for line in printed if line.startswith("[null") or line.startswith('["')]

    return jobs


def overrides(arguments):
    return {name.removeprefix("Hydra/"): value for name, value in arguments.items() if name.startswith("Hydra/")}


def test_each_job_has_its_own_overrides(jobs):
    """Settings of Hydra's own stay, but for those of the sweep: a clone is not to start one."""
    of_the_sweep = ("--multirun", "hydra.sweep.dir=sweeps", "hydra/launcher=basic", "hydra/sweeper=basic")
    first, second = jobs(*of_the_sweep, "lr=0.8,0.9", "db.password=hunter2", "hydra.job.name=mine")
    kept = {"db.password": "********", "hydra.job.name": "mine"}
    assert overrides(first[1]) == {"lr": "0.8", **kept}
    assert overrides(second[1]) == {"lr": "0.9", **kept}
    assert (second[1]["multirun"], second[1]["config_path"]) == ("False", "")
    assert "overrides" not in second[1]


def test_a_sweep_that_the_configuration_asks_for(jobs, tmp_path):
    """There, leaving `--multirun` out is not enough to run one job."""
    with (tmp_path / "config.yaml").open("a") as config:
        config.write("hydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      lr: 0.8,0.9\n")
    found = [overrides(arguments) for _, arguments in jobs()]
    assert found == [{"lr": lr, "hydra.mode": "RUN"} for lr in ("0.8", "0.9")]
    again = jobs("lr=0.9", "hydra.mode=RUN")
    assert [overrides(arguments)["lr"] for _, arguments in again] == ["0.9"]


def test_a_single_run_is_not_a_sweep(jobs):
    ((path, arguments),) = jobs("lr=0.2")
    assert (path, overrides(arguments)) == (None, {"lr": "0.2"})


def test_jobs_in_worker_processes(jobs, tmp_path):
    """Their command line is the sweep's, and no parser has read it there."""
    pytest.importorskip("joblib")
    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins" / "process.py").write_text(LAUNCHER)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "other.yaml").write_text("lr: 0.1\n")
    found = jobs("-m", "--config-dir=more", "--config-name=other", "lr=0.8,0.9", "hydra/launcher=process")
    assert sorted(overrides(arguments)["lr"] for _, arguments in found) == ["0.8", "0.9"]
    rest = {"config_name": "other", "config_dir": str(tmp_path / "more")}
    assert [{name: arguments[name] for name in arguments if name != "Hydra/lr"} for _, arguments in found] == [rest] * 2


WORKER = """
from hydra import compose, initialize
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict
import train

with initialize(version_base=None):
    config = compose(overrides=["+lr=0.8"], return_hydra_config=True)
with open_dict(config):
    config.hydra.job.num = 0
    config.hydra.runtime.config_sources = []
HydraConfig.instance().set_config(config)
train.main()
"""


def test_the_program_of_a_job_that_a_worker_was_sent(tmp_path, run):
    """submitit's worker is started as a separate module: the user's program is the one that it calls."""
    package = tmp_path / "site-packages" / "submitit" / "core"
    package.mkdir(parents=True)
    (package / "_submit.py").write_text(WORKER)
    code = "import json\nfrom autoinstrument.capture.process import program_now\n"
    (tmp_path / "train.py").write_text(code + "def main(): print(json.dumps(program_now()))\n")
    env = {"PYTHONPATH": f"{package.parents[1]}:{ROOT}"}
    found = json.loads(run("-m", "submitit.core._submit", "folder", cwd=tmp_path, env=env).splitlines()[-1])
    assert (found["main_kind"], found["main_path"], found["main_module"]) == ("script", str(tmp_path / "train.py"), "")
    assert {name: value for name, value, _ in found["arguments"]} == {"Hydra/+lr": "0.8", "config_name": ""}
