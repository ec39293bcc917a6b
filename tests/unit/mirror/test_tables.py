"""Tables and histograms as ClearML's pages draw them."""

from __future__ import annotations

from typing import Any

from autoinstrument.mirror.mapping.tables import MOST_ROWS, histogram, table


def bars(values: list[Any]) -> list[tuple[str, int]]:
    figure = histogram(values, "score")
    assert figure is not None
    (data,) = figure["data"]
    return list(zip(data["x"], data["y"], strict=True))


def test_a_table_shows_how_many_rows_it_lacks() -> None:
    assert table(["a"], [[1]], "t")["layout"]["title"] == "t"
    assert table(["a"], [[1]] * (MOST_ROWS + 1), "t")["layout"]["title"] == "t (first 1000 of 1001 rows)"
    assert table(["a"], [[1]], "t", of=7)["layout"]["title"] == "t (first 1 of 7 rows)"


def test_few_values_have_a_bar_each() -> None:
    assert bars([1, 0.5, 1]) == [("0.5", 1), ("1", 2)]
    assert bars([True, False, True]) == [("false", 1), ("true", 2)]
    assert bars(["yes", "no", "yes"]) == [("no", 1), ("yes", 2)]
    assert bars(["yes", 1]) == [("1", 1), ("yes", 1)], "of a judge and a person"


def test_many_numbers_are_put_into_ranges() -> None:
    found = bars(list(range(101)))
    assert len(found) == 20
    assert found[0] == ("0 to 5", 5)
    assert found[-1] == ("95 to 100", 6)


def test_texts_that_are_not_categories_have_no_histogram() -> None:
    assert histogram([], "score") is None
    assert histogram([f"answer {number}" for number in range(40)], "score") is None
    assert histogram(["a long answer " * 10], "score") is None


def test_odd_numbers() -> None:
    """JSON written by Python has NaN and infinities, and integers of any size."""
    assert bars([float("nan"), 1.0]) == [("1.0", 1), ("NaN", 1)]
    assert histogram([10**400, -1e308, 1e308, *range(40)], "score") is None
