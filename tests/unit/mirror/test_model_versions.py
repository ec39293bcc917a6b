"""Versions of a registered model as tags, as metadata, and in one line."""

from __future__ import annotations

from typing import cast

import pytest

from autoinstrument.mirror.mapping.model_metrics import curves
from autoinstrument.mirror.mapping.model_versions import is_published, items_of, registered, registry_tags, versions_in
from autoinstrument.records import Model, Version


def version(number: str, *aliases: str, stage: str = "", name: str = "iris", **tags: str) -> Version:
    return Version(name=name, version=number, stage=stage, aliases=list(aliases), tags=tags, description="")


def test_a_model_is_found_by_alias_and_stage_with_and_without_its_name() -> None:
    tags = registry_tags([version("1", "champion", "best", stage="Production"), version("2")])
    assert tags == {
        "champion", "iris@champion", "best", "iris@best", "Production", "iris/Production",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "is_named"),
    [("champion", True), ("IRIS@Champion", True), ("production", True), ("iris/Production", True),
     ("other@champion", False), ("Staging", False), ("iris", False)],
)  # fmt: skip
def test_a_model_is_published_by_any_of_these_names_in_any_case(name: str, is_named: bool) -> None:
    model = cast(Model, {"versions": [version("1", "champion", stage="Production")]})
    assert is_published(model, ["nothing", name]) is is_named
    assert not is_published(cast(Model, {"versions": None}), [name])


def test_versions_are_read_back_from_metadata() -> None:
    """Except their tags, which the model's own tags hold; this finds the tags that were given before."""
    versions = [version("1", "a", "b"), version("2", stage="Staging", name="other"), version("10", "c")]
    items = {key: value for key, value in items_of(versions).items() if value}
    assert list(versions_in({**items, "mine": "x"})) == versions


def test_one_line_names_all_versions_in_order() -> None:
    line = registered([version("10"), version("9", "champion", stage="Staging", ok="yes", token="abc")])
    assert line == "iris/9 @champion Staging ok=yes token=********; iris/10"
    assert registered([]) == ""


def test_a_line_that_is_cut_still_shows_each_change() -> None:
    many = [version(str(number)) for number in range(1000)]
    assert len(registered(many)) < 1100
    assert registered(many) != registered([*many[:-1], version("999", "champion")])


def test_the_latest_of_several_points_at_one_step_is_drawn() -> None:
    """Points of a data set have a curve of their own; what no curve can hold is left out."""
    points = [
        ("val/loss", 3.0, 2, 0, "", ""),
        ("val/loss", 1.0, 1, 0, "", ""),
        ("val/loss", 2.0, 2, 0, "", ""),
        ("val/loss", float("nan"), 9, 0, "", ""),
        ("val/loss", 5.0, 0, 1, "", ""),
        ("val/loss", 7.0, 0, 0, "wine", "d1"),
    ]
    assert curves(points, "prefix") == {
        ("val", "loss"): {0: (3.0, 2), 1: (5.0, 0)},
        ("val", "loss (wine d1)"): {0: (7.0, 0)},
    }
    assert ("loss", "val (wine d1)") in curves(points, "name")
