"""Glob patterns over the names of experiments: the last one that matches decides."""

from __future__ import annotations

import pytest

from autoinstrument.experiment_patterns import EVERYTHING, are_mirrored, parse


@pytest.mark.parametrize(
    ("text", "mirrored", "left_out"),
    [
        ("*", ["a", "", "prod/a/b", "a\nb"], []),
        ("prod/*", ["prod/a", "prod/a/b", "prod/"], ["prod", "Prod/a", "x/prod/a"]),
        ("prod/*, !prod/tmp*, prod/tmp-kept", ["prod/a", "prod/tmp-kept"], ["prod/tmp", "scratch"]),
        ("!scratch/*", ["prod/a", "scratch"], ["scratch/a"]),
        ("!scratch/*,!Default,scratch/kept", ["prod", "scratch/kept"], ["scratch/a", "Default"]),
        ("!*,prod", ["prod"], ["a"]),
        ("/Users/*@example.com/[ab]?", ["/Users/me@example.com/a1"], ["/Users/me@example.com/c1"]),
        ("a?b", ["a,b"], ["ab"]),
        ("! scratch", ["a"], ["scratch"]),
    ],
)
def test_which_names_are_mirrored(text: str, mirrored: list[str], left_out: list[str]) -> None:
    patterns = parse(text)
    assert [name for name in mirrored + left_out if are_mirrored(patterns, name)] == mirrored


@pytest.mark.parametrize("text", [",", " , ", "!", "prod/*,!", "prod/[ab", "![", "a]["])
def test_texts_that_are_not_patterns(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_the_default() -> None:
    assert parse("*") == EVERYTHING
