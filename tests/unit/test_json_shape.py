"""One function checks the shape of JSON, for answers, files and variables."""

from __future__ import annotations

from typing import Any, TypedDict

import pytest

from autoinstrument.json_shape import mismatch
from autoinstrument.records import Dataset, InputsLogged, ModelsLogged, has_right_types


class Named(TypedDict):
    name: str


class Item(Named, total=False):
    count: int
    parts: list[Named]


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ("a", str), (1, int), (1, float), (1.5, float), (True, bool), (None, Any), ([1, "a"], Any),
        ([], list[int]), ([1, 2], list[int]), ({"a": 1}, dict[str, int]), (["a", 1], tuple[str, int]),
        (("a", 1), tuple[str, int]), (None, str | None), ("a", str | None), ({"name": "a"}, Item),
        ({"name": "", "count": None, "parts": {}, "more": 1}, Item), ({"name": "a", "parts": [{"name": "b"}]}, Item),
    ],
)  # fmt: skip
def test_values_of_the_shape(value: Any, shape: Any) -> None:
    assert mismatch(value, shape) == ""


@pytest.mark.parametrize(
    ("value", "shape", "part"),
    [
        (1, str, "v"), (True, int, "v"), (2**63, int, "v"), (1.0, int, "v"), ("1", float, "v"), (1, bool, "v"),
        ({}, list[int], "v"), ([1, "a"], list[int], "v"), ({"a": "b"}, dict[str, int], "v.a"),
        ([], dict[str, int], "v"),
        (["a"], tuple[str, int], "v"), (["a", "b"], tuple[str, int], "v"), (1, str | None, "v"), ([], Item, "v"),
        ({}, Item, "v"), ({"name": None}, Item, "v.name"), ({"name": "a", "count": "b"}, Item, "v.count"),
        ({"name": "a", "parts": [{}]}, Item, "v.parts"), ({"name": "a", "parts": [{"name": 1}]}, Item, "v.parts.name"),
    ],
)  # fmt: skip
def test_values_of_another_shape(value: Any, shape: Any, part: str) -> None:
    assert mismatch(value, shape, "v") == part


def test_records_are_checked_down_to_their_last_part() -> None:
    dataset = Dataset(name="d", digest="1", source_type="", source="", schema="", profile="", tags={})
    assert has_right_types(InputsLogged("r", [dataset]))
    wrong: Any = {**dataset, "tags": {"a": 1}}
    assert not has_right_types(InputsLogged("r", [wrong]))
    missing: Any = [{"uri": "models:/m"}]
    assert not has_right_types(ModelsLogged("r", missing))
