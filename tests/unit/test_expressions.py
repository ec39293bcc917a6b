"""Regular expressions that are compiled late."""

from __future__ import annotations

import re

import pytest

from autoinstrument.expressions import expression


def test_it_has_the_methods_of_a_pattern() -> None:
    late, compiled = expression(r"(?P<name>a+)b", re.I), re.compile(r"(?P<name>a+)b", re.I)
    for text in ("AAb", "xaabab", ""):
        assert late.sub("-", text) == compiled.sub("-", text)
        assert late.findall(text) == compiled.findall(text)
        assert bool(late.fullmatch(text)) == bool(compiled.fullmatch(text))
    assert late.pattern == compiled.pattern
    assert expression(rb"\d").findall(b"1a2") == [b"1", b"2"]


def test_it_is_compiled_once_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = re.compile
    monkeypatch.setattr(re, "compile", lambda text, flags=0: seen.append(text) or real(text, flags))
    late = expression("a")
    assert seen == []
    assert [bool(late.search(text)) for text in ("a", "b", "a")] == [True, False, True]
    assert seen == ["a"]


def test_what_is_no_expression_is_an_error_when_it_is_used() -> None:
    with pytest.raises(re.error):
        expression("(").search("a")
