"""Arguments of functions and classes that tyro fills in, one by one, and edited on a clone."""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Any, Optional, Union

import pytest

from autoinstrument.integrations.parsed_arguments import arguments, parsed
from autoinstrument.integrations.tyro_values import watch
from tests.unit.integrations.command_lines import Trial

tyro = pytest.importorskip("tyro")


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch) -> Trial:
    from tyro import _cli

    monkeypatch.setattr(_cli, "_cli_impl", _cli._cli_impl)
    monkeypatch.setattr(_cli._calling, "callable_with_args", _cli._calling.callable_with_args)
    watch(_cli)
    return Trial(monkeypatch)


class Size(str, Enum):
    SMALL = "small"
    LARGE = "large"


@dataclasses.dataclass
class Optimizer:
    learning_rate: float = 0.1


@dataclasses.dataclass
class Settings:
    data: str
    optimizer: Optimizer
    epochs: int = 3
    fast: bool = False
    size: Size = Size.SMALL
    layers: tuple[int, ...] = (8,)
    pair: tuple[int, str] = (1, "a")
    depth: Optional[int] = None  # noqa: UP045  (tyro reads it on Python 3.10, too)
    tag: tyro.conf.UseAppendAction[list[str]] = dataclasses.field(default_factory=list)
    verbose: tyro.conf.UseCounterAction[int] = 0


def program() -> Any:
    return tyro.cli(Settings)


GIVEN = (
    "--data", "x.csv", "--optimizer.learning_rate=0.5", "--fast", "--size", "LARGE", "--layers", "1", "2",
    "--pair", "3", "b", "--depth", "4", "--tag", "a", "--tag", "b", "--verbose", "--verbose",
)  # fmt: skip


def test_values_by_name_with_defaults(trial: Trial) -> None:
    assert trial.shown(program, "--data", "x.csv") == {
        "data": "x.csv", "optimizer.learning_rate": "0.1", "epochs": "3", "fast": "False", "size": "SMALL",
        "layers": "[8]", "pair": "[1, 'a']", "depth": "", "tag": "[]", "verbose": "0",
    }  # fmt: skip
    assert {name: kind for name, _, kind in parsed()}["optimizer.learning_rate"] == "float"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("data", "y.csv", "y.csv"),
        ("optimizer.learning_rate", "0.25", 0.25),
        ("epochs", "-7", -7),
        ("fast", "True", True),
        ("fast", "False", False),
        ("size", "LARGE", Size.LARGE),
        ("layers", "[4, 5]", (4, 5)),
        ("pair", "[6, 'c']", (6, "c")),
        ("depth", "9", 9),
        ("tag", "['c']", ["c"]),
        ("verbose", "3", 3),
    ],
)
@pytest.mark.parametrize("given", [("--data", "x.csv"), GIVEN], ids=["few", "all"])
def test_an_edited_value_takes_effect(trial: Trial, given: list[str], name: str, text: str, value: object) -> None:
    found = trial.edited(program, *given, changed={name: text})
    for part in name.split("."):
        found = getattr(found, part)
    assert found == value


def test_a_function_with_positional_arguments(trial: Trial) -> None:
    def train(data: str, /, lr: float = 0.1, *, my_seed: int = 1) -> tuple[Any, ...]:
        return data, lr, my_seed

    def program() -> Any:
        return tyro.cli(train)

    assert trial.shown(program, "x.csv", "--my_seed", "2") == {"data": "x.csv", "lr": "0.1", "my_seed": "2"}
    changed = {"data": "y.csv", "my_seed": "5"}
    assert trial.edited(program, "x.csv", "--my_seed", "2", changed=changed) == ("y.csv", 0.1, 5)


@dataclasses.dataclass
class Adam:
    lr: float = 0.1


@dataclasses.dataclass
class Sgd:
    momentum: float = 0.9


@dataclasses.dataclass
class Sweep:
    optimizer: Union[Adam, Sgd]  # noqa: UP007
    seed: int = 1


def test_sub_commands_have_their_own_options(trial: Trial) -> None:
    def program() -> Any:
        return tyro.cli(Sweep)

    given = ("--seed", "2", "optimizer:adam", "--optimizer.lr", "0.3")
    assert trial.shown(program, *given) == {"optimizer": "optimizer:adam", "seed": "2", "optimizer.lr": "0.3"}
    changed = {"seed": "4", "optimizer.lr": "0.5"}
    assert trial.edited(program, *given, changed=changed) == Sweep(Adam(0.5), 4)
    values = trial.shown(program, *given)
    assert values["optimizer"] == "optimizer:adam"


def test_another_sub_command_is_chosen(trial: Trial) -> None:
    from autoinstrument.clone_run.command_line import rewritten
    from autoinstrument.integrations.argument_words import read_line

    def program() -> Any:
        return tyro.cli(Union[Adam, Sgd])  # noqa: UP007

    values = trial.shown(program, "adam", "--lr", "0.3")
    assert values == {"command": "adam", "lr": "0.3"}
    line = read_line()
    assert line is not None
    assert trial.run(program, *rewritten(line, values | {"command": "sgd", "momentum": "0.5"})) == Sgd(0.5)


def test_calls_that_do_not_read_the_command_line(trial: Trial) -> None:
    trial.run(lambda: tyro.cli(Adam, args=["--lr", "1"]), "--lr", "2")
    assert arguments() == []
