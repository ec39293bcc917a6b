"""Classes like those of `typing.NamedTuple`, compared with those."""

from __future__ import annotations

import copy
import pickle
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autoinstrument
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.records import MetricsLogged, Record


class _Ours(NamedTuple):
    """A documented class."""

    name: str
    size: int = 3
    """A documented field."""
    parts: list[str] = []  # noqa: RUF012

    def twice(self) -> int:
        return 2 * self.size


class _Typed(typing.NamedTuple):
    """A documented class."""

    name: str
    size: int = 3
    parts: list[str] = []  # noqa: RUF012

    def twice(self) -> int:
        return 2 * self.size


class _Derived(_Ours):
    """An ordinary class."""

    more = 1


_USES: dict[str, Callable[[Any], object]] = {
    "defaults": lambda kind: tuple(kind("a")),
    "positional": lambda kind: tuple(kind("a", 1, ["b"])),
    "named": lambda kind: tuple(kind(parts=["b"], name="a")),
    "fields": lambda kind: (kind("a").name, kind("a").size, kind("a", 2).twice()),
    "equality": lambda kind: (kind("a") == ("a", 3, []), kind("a") == kind("b"), kind("a", 1) < kind("a", 2)),
    "replace": lambda kind: tuple(kind("a")._replace(size=5)),
    "asdict": lambda kind: kind("a")._asdict(),
    "copy": lambda kind: tuple(copy.deepcopy(kind("a", 1, ["b"]))),
    "pickle": lambda kind: (
        pickle.loads(pickle.dumps(kind("a"))) == kind("a"),
        type(pickle.loads(pickle.dumps(kind("a")))),
    ),
    "class": lambda kind: (kind._fields, kind._field_defaults, kind.__match_args__, kind.__doc__),
    "types": lambda kind: typing.get_type_hints(kind),
    "representation": lambda kind: repr(kind("a")),
    "memory": lambda kind: kind("a").__sizeof__(),
}


@pytest.mark.parametrize("use", _USES)
def test_a_class_is_used_as_one_of_typings(use: str) -> None:
    ours, typed = _USES[use](_Ours), _USES[use](_Typed)
    assert repr(ours).replace("_Ours", "_Typed") == repr(typed)


@pytest.mark.parametrize(
    "arguments", [{}, {"name": "a", "other": 1}, {"size": 1}], ids=["none", "one too many", "one missing"]
)
def test_arguments_that_do_not_fit(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        _Ours(**arguments)


def test_a_field_cannot_be_set() -> None:
    ours: Any = _Ours("a")
    for name in ("size", "other"):
        with pytest.raises(AttributeError):
            setattr(ours, name, 1)


def test_a_derived_class_has_no_fields_of_its_own() -> None:
    derived = _Derived("a", 2)
    assert (derived.size, derived.more, derived._fields) == (2, 1, _Ours._fields)


def test_patterns_match() -> None:
    match _Ours("a", 4):
        case _Ours(name, size):
            assert (name, size) == ("a", 4)
        case _:
            pytest.fail("no match")


def test_tools_do_not_look_for_a_file_of_the_constructor() -> None:
    """coverage.py skips code whose file is named in angle brackets, and warns about other files that do not exist."""

    class Made(NamedTuple):
        name: str

    assert Made("a").name == "a"
    file = vars(Made)["__new__"].__code__.co_filename
    assert file.startswith("<")
    assert file.endswith(">")


def test_records_are_such_classes() -> None:
    kinds = typing.get_args(Record)
    assert MetricsLogged in kinds
    assert all(issubclass(kind, NamedTuple) for kind in kinds)  # type: ignore[arg-type]


def test_modules_of_such_classes_do_not_evaluate_annotations() -> None:
    """From Python 3.14 on, a class body has its annotations only in modules with this import."""
    package = Path(autoinstrument.__path__[0])
    texts = {file: file.read_text("utf-8") for file in package.rglob("*.py")}
    users = [file for file, text in texts.items() if "autoinstrument.named_tuple import" in text]
    assert users
    assert [file for file in users if "from __future__ import annotations\n" not in texts[file]] == []
