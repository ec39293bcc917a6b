"""Flags of absl, one by one, and edited on a clone."""

from __future__ import annotations

import sys
from enum import Enum
from typing import Any

import pytest

from autoinstrument.integrations.absl_values import watch
from autoinstrument.integrations.parsed_arguments import help_texts
from tests.unit.integrations.command_lines import Trial

flags = pytest.importorskip("absl.flags")


class Kind(Enum):
    ADAM = 1
    SGD = 2


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch) -> Trial:
    monkeypatch.setattr(flags.FlagValues, "__call__", flags.FlagValues.__call__)
    watch(flags._flagvalues)
    return Trial(monkeypatch)


def program() -> Any:
    values = flags.FlagValues()
    flags.DEFINE_float("lr", 0.1, "step size", short_name="l", flag_values=values)
    flags.DEFINE_integer("depth", None, "", flag_values=values)
    flags.DEFINE_bool("fast", True, "", flag_values=values)
    flags.DEFINE_list("layers", ["8"], "", flag_values=values)
    flags.DEFINE_enum_class("kind", Kind.ADAM, Kind, "", flag_values=values)
    flags.DEFINE_multi_string("tag", [], "", flag_values=values)
    rest = values(sys.argv)
    return {**values.flag_values_dict(), "rest": rest[1:]}


GIVEN = ("-l", "0.5", "--nofast", "--layers=1,2", "--kind", "SGD", "--tag", "a", "--tag=b", "data.csv")


def test_values_by_name_with_defaults(trial: Trial) -> None:
    assert trial.shown(program, "--lr=2") == {
        "lr": "2.0", "depth": "", "fast": "True", "layers": "8", "kind": "adam", "tag": "[]",
    }  # fmt: skip
    assert help_texts()["lr"] == "step size"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("lr", "0.25", 0.25),
        ("depth", "3", 3),
        ("fast", "True", True),
        ("fast", "False", False),
        ("layers", "4,5", ["4", "5"]),
        ("kind", "adam", Kind.ADAM),
        ("tag", "['c']", ["c"]),
    ],
)
@pytest.mark.parametrize("given", [("data.csv",), GIVEN], ids=["none", "all"])
def test_an_edited_value_takes_effect(trial: Trial, given: list[str], name: str, text: str, value: object) -> None:
    result = trial.edited(program, *given, changed={name: text})
    assert result[name] == value
    assert result["rest"] == ["data.csv"]
