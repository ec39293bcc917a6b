"""Arguments of functions that python-fire calls, one by one, and edited on a clone."""

from __future__ import annotations

from typing import Any

import pytest

from autoinstrument.integrations.fire_values import watch
from autoinstrument.integrations.parsed_arguments import arguments
from tests.unit.integrations.command_lines import Trial

fire = pytest.importorskip("fire")


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch) -> Trial:
    for name in ("_Fire", "_MakeParseFn"):
        monkeypatch.setattr(fire.core, name, getattr(fire.core, name))
    watch(fire.core)
    return Trial(monkeypatch)


calls: list[Any] = []


def train(data: str, lr: float = 0.1, fast: bool = False, layers: tuple[int, ...] = (8,), **more: Any) -> None:
    calls.append({"data": data, "lr": lr, "fast": fast, "layers": layers, **more})


def program() -> Any:
    fire.Fire(train)
    return calls[-1]


GIVEN = ("x.csv", "--lr", "0.5", "--fast", "--layers=[1,2]", "--depth=3")


def test_values_by_name_with_defaults(trial: Trial) -> None:
    assert trial.shown(program, "x.csv") == {"data": "x.csv", "lr": "0.1", "fast": "False", "layers": "(8,)"}
    assert trial.shown(program, *GIVEN)["depth"] == "3"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("lr", "0.25", 0.25), ("fast", "True", True), ("fast", "False", False), ("data", "y.csv", "y.csv")],
)
@pytest.mark.parametrize("given", [("x.csv",), GIVEN], ids=["none", "all"])
def test_an_edited_value_takes_effect(trial: Trial, given: list[str], name: str, text: str, value: object) -> None:
    assert trial.edited(program, *given, changed={name: text})[name] == value


def test_an_edited_list_takes_effect(trial: Trial) -> None:
    assert list(trial.edited(program, *GIVEN, changed={"layers": "[4, 5]"})["layers"]) == [4, 5]


class Trainer:
    def __init__(self, seed: int = 1) -> None:
        self.seed = seed

    def fit(self, steps: int, lr: float = 0.1) -> None:
        calls.append((self.seed, steps, lr))


def test_a_class_and_its_method(trial: Trial) -> None:
    def program() -> Any:
        fire.Fire(Trainer)
        return calls[-1]

    given = ("fit", "3", "--lr=0.5", "--seed=2")
    values = trial.shown(program, *given)
    assert (values["command"], values["lr"], values["seed"]) == ("fit", "0.5", "2")
    assert trial.edited(program, *given, changed={"lr": "0.7", "seed": "5"}) == (5, 3, 0.7)


def test_calls_that_do_not_read_the_command_line(trial: Trial) -> None:
    trial.run(lambda: fire.Fire(train, command=["x.csv"]), "--lr", "2")
    assert arguments() == []
