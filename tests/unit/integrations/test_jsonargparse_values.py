"""Arguments of jsonargparse, one by one, and edited on a clone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from autoinstrument.integrations.jsonargparse_values import watch
from autoinstrument.integrations.parsed_arguments import arguments
from tests.unit.integrations.command_lines import Trial

jsonargparse = pytest.importorskip("jsonargparse")


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch) -> Trial:
    owner = jsonargparse.ArgumentParser
    for name in ("lightning", "pytorch_lightning"):  # clearml's patch imports them, and with them torch, for 5 s
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(owner, "parse_args", owner.parse_args)
    watch(sys.modules[owner.__module__])
    return Trial(monkeypatch)


class Model:
    def __init__(self, width: int = 4, layers: list[int] | None = None) -> None:
        self.width, self.layers = width, layers


def program() -> Any:
    parser = jsonargparse.ArgumentParser()
    parser.add_argument("--config", action=jsonargparse.ActionConfigFile)
    parser.add_argument("--optimizer.lr", type=float, default=0.1)
    parser.add_argument("--depth", type=int)
    parser.add_argument("--fast", type=bool, default=False)
    parser.add_argument("--dry", action="store_true")
    parser.add_class_arguments(Model, "model")
    values = parser.parse_args().as_flat()
    return {name: value for name, value in vars(values).items() if "config" not in name}


GIVEN = ("--optimizer.lr", "0.5", "--fast=true", "--dry", "--model.width", "3", "--model.layers=[1, 2]")


def test_values_by_name_with_defaults(trial: Trial) -> None:
    assert trial.shown(program, "--depth=2") == {
        "config": "", "optimizer.lr": "0.1", "depth": "2", "fast": "False", "dry": "False", "model.width": "4",
        "model.layers": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("optimizer.lr", "0.25", 0.25),
        ("depth", "3", 3),
        ("fast", "True", True),
        ("dry", "True", True),
        ("model.width", "6", 6),
        ("model.layers", "[4, 5]", [4, 5]),
    ],
)
@pytest.mark.parametrize("given", [(), GIVEN], ids=["none", "all"])
def test_an_edited_value_takes_effect(trial: Trial, given: list[str], name: str, text: str, value: object) -> None:
    assert trial.edited(program, *given, changed={name: text})[name] == value


def test_a_value_of_a_configuration_file(trial: Trial, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("optimizer:\n  lr: 0.3\ndepth: 7\n")
    assert trial.shown(program, "--config", str(file))["optimizer.lr"] == "0.3"
    result = trial.edited(program, "--config", str(file), changed={"depth": "8"})
    assert (result["depth"], result["optimizer.lr"]) == (8, 0.3)


def test_sub_commands(trial: Trial) -> None:
    def program() -> Any:
        parser = jsonargparse.ArgumentParser()
        parser.add_argument("--seed", type=int, default=1)
        fit = jsonargparse.ArgumentParser()
        fit.add_argument("--lr", type=float, default=0.1)
        commands = parser.add_subcommands()
        commands.add_subcommand("fit", fit)
        commands.add_subcommand("test", jsonargparse.ArgumentParser())
        values = parser.parse_args()
        return values.seed, values.subcommand, values.fit.lr

    given = ("fit", "--lr", "0.2")
    assert trial.shown(program, *given) == {"seed": "1", "subcommand": "fit", "fit.lr": "0.2"}
    assert trial.edited(program, *given, changed={"seed": "3", "fit.lr": "0.4"}) == (3, "fit", 0.4)


def test_lists_that_are_not_the_command_line(trial: Trial) -> None:
    def program() -> None:
        parser = jsonargparse.ArgumentParser()
        parser.add_argument("--lr", type=float)
        parser.parse_args(["--lr", "1"])

    trial.run(program, "--other")
    assert arguments() == []
