"""The configuration of Hydra's jobs, in real ones."""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from autoinstrument.integrations import hydra_config

omegaconf = pytest.importorskip("omegaconf")
pytest.importorskip("hydra")

TRAIN = """
import json
from autoinstrument.bootstrap import import_hook
import_hook.arm()
import hydra
from autoinstrument.capture.process import Changes, program_now

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(config):
    found = program_now() or Changes().describe()._asdict()
    config.depth = 9  # the program's own copy
    print(json.dumps(found["configuration"]))

main()
"""
CONFIG = """
lr: 0.1
depth: 3
from_env: ${oc.env:HOME}
twice: ${lr}
must: ???
db: {password: hunter2, url: "pg://user:hunter2@host/x", token: "${oc.env:TOKEN}"}
layers: [1, 2]
"""


@pytest.fixture
def jobs(tmp_path: Path, run: Callable[..., str]) -> Callable[..., list[str]]:
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "config.yaml").write_text(CONFIG)

    def jobs(*arguments: str) -> list[str]:
        printed = run("train.py", *arguments, cwd=tmp_path).splitlines()
        return [json.loads(line) for line in printed if line.startswith('"')]

    return jobs


def test_a_job_without_secrets_and_with_its_interpolations(jobs: Callable[..., list[str]]) -> None:
    assert jobs("lr=0.2") == [
        "lr: 0.2\ndepth: 3\nfrom_env: ${oc.env:HOME}\ntwice: ${lr}\nmust: ???\ndb:\n  password: '********'\n"
        "  url: pg://user:********@host/x\n  token: ${oc.env:TOKEN}\nlayers:\n- 1\n- 2\n"
    ]


def test_each_job_of_a_sweep_has_its_own(jobs: Callable[..., list[str]]) -> None:
    first, second = jobs("--multirun", "lr=0.8,0.9")
    assert first.startswith("lr: 0.8\n")
    assert second.startswith("lr: 0.9\n")


def test_what_the_job_gives_and_raises_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hydra_config, "_current", [])

    def run_job(task: Callable[[object], object], config: object) -> object:
        return task(config)

    utils = types.SimpleNamespace(run_job=run_job)
    hydra_config.watch(utils)
    hydra_config.watch(utils)
    assert utils.run_job.__wrapped__ is run_job
    assert hydra_config.configuration() == ""
    config = omegaconf.OmegaConf.create({"lr": 0.1, "hydra": {"job": "x"}})
    assert utils.run_job(lambda given: given, config=config) is config
    assert hydra_config.configuration() == "lr: 0.1\n"
    with pytest.raises(ZeroDivisionError):
        utils.run_job(lambda given: 1 / 0, config)
