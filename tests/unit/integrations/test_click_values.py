"""Options and arguments of click and typer, one by one, and edited on a clone."""

from __future__ import annotations

from enum import Enum
from typing import Any

import click
import click.core
import pytest
from click.testing import CliRunner

from autoinstrument.integrations.argument_words import read_line
from autoinstrument.integrations.click_values import watch
from autoinstrument.integrations.parsed_arguments import arguments, help_texts, parsed
from tests.unit.integrations.command_lines import Trial


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch) -> Trial:
    owner = next(kind for kind in reversed(click.Command.__mro__) if "make_context" in vars(kind))
    monkeypatch.setattr(owner, "make_context", owner.make_context)
    watch(click.core)
    return Trial(monkeypatch)


@click.command()
@click.option("--lr", "-l", type=float, default=0.1)
@click.option("--depth", type=int)
@click.option("--fast/--slow", default=False)
@click.option("--dry", is_flag=True)
@click.option("-v", "--verbose", count=True)
@click.option("--tag", multiple=True)
@click.option("--pair", nargs=2, type=int, default=(1, 2))
@click.option("--mode", type=click.Choice(["a", "b"]), default="a")
@click.argument("data", nargs=-1)
def train(**values: Any) -> dict[str, Any]:
    return values


def program() -> Any:
    return train(standalone_mode=False)


GIVEN = (
    "-l0.5",
    "--fast",
    "-vv",
    "--tag",
    "a",
    "--tag=b",
    "--pair",
    "3",
    "4",
    "--mode",
    "b",
    "x",
    "y",
)


def test_values_by_name_with_defaults(trial: Trial) -> None:
    assert trial.shown(program, "--lr", "2") == {
        "lr": "2.0", "depth": "", "fast": "False", "dry": "False", "verbose": "0", "tag": "()", "pair": "(1, 2)",
        "mode": "a", "data": "()",
    }  # fmt: skip


def test_secrets_do_not_travel(trial: Trial) -> None:
    @click.command()
    @click.option("--pin", prompt=True, hide_input=True, default="hunter2")
    @click.option("--api-key")
    def train(**values: Any) -> dict[str, Any]:
        return values

    trial.run(lambda: train(standalone_mode=False), "--pin=hunter2", "--api-key", "hunter2")
    assert parsed() == [("pin", "********", "str"), ("api_key", "********", "str")]
    assert "hunter2" not in repr(read_line())


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("lr", "0.25", 0.25),
        ("depth", "3", 3),
        ("fast", "False", False),
        ("dry", "True", True),
        ("verbose", "3", 3),
        ("tag", "('c',)", ("c",)),
        ("pair", "(5, 6)", (5, 6)),
        ("mode", "a", "a"),
        ("data", "('z',)", ("z",)),
    ],
)
@pytest.mark.parametrize("given", [(), GIVEN], ids=["none", "all"])
def test_an_edited_value_takes_effect(trial: Trial, given: list[str], name: str, text: str, value: object) -> None:
    assert trial.edited(program, *given, changed={name: text})[name] == value


@click.group()
@click.option("--seed", default=1)
def cli(seed: int) -> None:
    pass


@cli.command()
@click.option("--lr", default=0.1, help="step size")
@click.argument("data")
def fit(**values: Any) -> Any:
    return {"seed": click.get_current_context().parent.params["seed"], **values}  # type: ignore[union-attr]


def test_sub_commands_have_their_own_options(trial: Trial) -> None:
    def program() -> Any:
        return cli(standalone_mode=False)

    given = ("fit", "--lr", "0.2", "x.csv")
    assert trial.shown(program, *given) == {"seed": "1", "command": "fit", "fit/lr": "0.2", "fit/data": "x.csv"}
    assert help_texts() == {"fit/lr": "step size"}
    changed = {"seed": "3", "fit/data": "y.csv"}
    assert trial.edited(program, *given, changed=changed) == {"seed": 3, "lr": 0.2, "data": "y.csv"}


def test_commands_that_do_not_read_the_command_line(trial: Trial) -> None:
    """A library may run one, as may a test of the program."""
    trial.run(lambda: train(["--depth", "1"], standalone_mode=False), "--lr", "2")
    CliRunner().invoke(train, ["--depth", "1"])
    assert arguments() == []


class Size(str, Enum):
    SMALL = "small"
    LARGE = "large"


def test_typer(trial: Trial) -> None:
    typer = pytest.importorskip("typer")
    try:
        from typer._click import core  # newer releases bring a copy of click
    except ImportError:
        pass
    else:
        watch(core)
    found: list[Any] = []

    def train(data: str, lr: float = 0.1, size: Size = Size.SMALL, fast: bool = False) -> None:
        found.append((data, lr, size, fast))

    def program() -> Any:
        app = typer.Typer()
        app.command()(train)
        app(standalone_mode=False)
        return found[-1]

    assert trial.shown(program, "x") == {"data": "x", "lr": "0.1", "size": "small", "fast": "False"}
    changed = {"lr": "0.5", "size": "large", "fast": "True", "data": "y"}
    assert trial.edited(program, "x", changed=changed) == ("y", 0.5, Size.LARGE, True)
