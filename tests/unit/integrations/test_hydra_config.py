"""The configuration of Hydra's jobs, in real ones."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoinstrument.guard import logger
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


@pytest.mark.interpreter
def test_a_job_without_secrets_and_with_its_interpolations(jobs: Callable[..., list[str]]) -> None:
    assert jobs("lr=0.2") == [
        "lr: 0.2\ndepth: 3\nfrom_env: ${oc.env:HOME}\ntwice: ${lr}\nmust: ???\ndb:\n  password: '********'\n"
        "  url: pg://user:********@host/x\n  token: ${oc.env:TOKEN}\nlayers:\n- 1\n- 2\n"
    ]


@pytest.mark.interpreter
def test_each_job_of_a_sweep_has_its_own(jobs: Callable[..., list[str]]) -> None:
    first, second = jobs("--multirun", "lr=0.8,0.9")
    assert first.startswith("lr: 0.8\n")
    assert second.startswith("lr: 0.9\n")


def test_results_and_errors_of_the_job_pass(monkeypatch: pytest.MonkeyPatch) -> None:
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


def job(text: str, monkeypatch: pytest.MonkeyPatch, *, config: Any = None) -> Any:
    """Return the configuration that a job gets in a clone whose Task has a text for it."""
    of_clone = types.SimpleNamespace(edited_configuration=lambda: text)
    monkeypatch.setitem(sys.modules, "autoinstrument.clone_run.start", of_clone)
    monkeypatch.setattr(hydra_config, "_current", [])
    utils = types.SimpleNamespace(run_job=lambda task, config: task(config))
    hydra_config.watch(utils)
    if config is None:
        config = omegaconf.OmegaConf.create(CONFIG + "hydra: {job: {name: x}}\n")
        omegaconf.OmegaConf.set_struct(config, True)
    return utils.run_job(lambda given: given, config)


def test_the_configuration_of_a_clone_is_that_of_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/of/the/clone")
    text = (
        "lr: 0.5\nfrom_env: ${oc.env:HOME}\ntwice: ${lr}\nadded: {deep: [1]}\nlayers: [3]\n"
        "db: {password: '********', url: 'pg://user:********@host/x', host: other}\n"
    )
    found = job(text, monkeypatch)
    assert omegaconf.OmegaConf.is_struct(found)
    shown = omegaconf.OmegaConf.to_container(found, resolve=True)
    assert shown == {
        "lr": 0.5, "from_env": "/of/the/clone", "twice": 0.5, "added": {"deep": [1]}, "layers": [3],
        "db": {"password": "hunter2", "url": "pg://user:hunter2@host/x", "host": "other"},
        "hydra": {"job": {"name": "x"}},
    }  # fmt: skip
    assert hydra_config.configuration().startswith("lr: 0.5\n")


def test_a_structured_configuration_keeps_its_types(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = dataclasses.make_dataclass("Optimizer", [("lr", float, 0.1), ("steps", int, 5)])
    config = omegaconf.OmegaConf.create({"optimizer": omegaconf.OmegaConf.structured(optimizer), "hydra": {}})
    found = job("optimizer: {lr: 2}", monkeypatch, config=config)
    assert found.optimizer == {"lr": 2.0, "steps": 5}
    assert omegaconf.OmegaConf.get_type(found.optimizer) is optimizer


@pytest.mark.parametrize("text", ["[", "- 1", "lr: [", "optimizer: {lr: fast}"])
@pytest.mark.may_report
def test_a_text_that_is_not_a_configuration_does_not_count(
    text: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    optimizer = dataclasses.make_dataclass("Optimizer", [("lr", float, 0.1)])
    config = omegaconf.OmegaConf.create({"optimizer": omegaconf.OmegaConf.structured(optimizer), "hydra": {}})
    monkeypatch.setattr(logger(), "propagate", True)
    assert job(text, monkeypatch, config=config) is config
    (message,) = set(caplog.messages)
    assert message.startswith("configuration OmegaConf is not understood (")
    assert "\n" not in message
