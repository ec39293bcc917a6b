"""Plain configuration files: each is read as by the SDK, or left to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import clearml
import pytest
from clearml.utilities.pyhocon import ConfigFactory, ConfigTree
from clearml.utilities.pyhocon.config_tree import NoneValue

from autoinstrument.clearml_api import plain_config

PLAIN = [
    "{a: 1}", "{ }", "\n{\n}\n", "{a:b}", "{a = b}", "{a {b: 1}}", "{a: {b: 1}}", "# top\n{a: 1}\n# end\n",
    "// top\n{a: 1}",
    "{a: b # c\n}", "{a: b //c\n}", "{a: null, b: NULL, c: True, d: false}", "{a: x\r\nb: y\r\n}", "{a : 1,,b: 2}",
    "{a { b { c: [1, 2.5, \"x\", yes] } } }", "{a.b: 1\n a.c: 2\n a: {d: 3}}", "{a {b: 1}, a {b: 2}}", "{a: 1\n a: 2}",
    "{\"a.b\": 1, \"c\": 2}", "{a: {b: 1}\n a: []}", "{a: \"${x}\"}", "{a: \"x # y // z\"}", "{a: \"ä\", b: \"\"}",
    "{a: 007, b: 1.50, c: 0}", "{a: [ {b: 1}, {c: [ ]} ]}", "{a: [1,\n2 # c\n3\n]}", "{a: [[1], [2]]}",
    "{a: [ , 1,, 2 ,]}",
    "{url: file, file = url , a = required }",
]  # fmt: skip
NOT_PLAIN = [
    "", "a: 1", "[1]", "{a: b//c\n}", "{a: 5//c\n}", "{a: 10s}", "{a: 10 s}", "{a: foo bar}", "{a: foo-bar}", "{a: -1}",
    "{a: 1e5}", "{a: 1.}", "{a: ä}", "{ä: 1}", "{a b: 1}", "{a: [b c]}", "{a: {b: 1} {c: 2}}", "{a: []\n a: {b: 1}}",
    "{a: 1\n a: {b: 2}}", "{a += 1}", "{a: ${b}, b: 1}", "{a: \"x\" \"y\"}", "{a: \"\"\"x\"\"\"}", "{a: \"\\n\"}",
    "{a: ,}",
    "{include: 1}", "{include \"x.conf\"}", "{a: include}", "{a: 1", "{a: 1}}", "{a: 1} {b: 2}", "{a:\n1}",
    "{a: b\\\n}",
    "{a: https://host}", "{1: 2}", "{a: 1 \"b\": 2}", "{a, b: 1}",
]  # fmt: skip
FILES = sorted(Path(clearml.__path__[0]).rglob("default/*.conf"))


def shape(value: Any) -> Any:
    """Return a value with the types of all its parts; a tree of the top level also has its history."""
    if isinstance(value, ConfigTree):
        members = [(key, shape(dict.__getitem__(value, key))) for key in value]
        return "tree", members, value.root and [(key, list(map(shape, each))) for key, each in value.history.items()]
    if isinstance(value, list):
        return [shape(item) for item in value]
    value = None if isinstance(value, NoneValue) else value  # in some places; `ConfigTree.get` returns None for it
    return type(value), value


@pytest.mark.parametrize("text", PLAIN)
def test_a_plain_text_is_read_as_by_the_sdk(text: str) -> None:
    found = plain_config.parse(text, ConfigTree)
    assert found is not None
    assert shape(found) == shape(ConfigFactory.parse_string(text))


@pytest.mark.parametrize("text", NOT_PLAIN)
def test_any_other_text_is_left_to_the_sdk(text: str) -> None:
    assert plain_config.parse(text, ConfigTree) is None


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parts[-3]}-{file.stem}")
def test_the_default_files_of_the_sdk_are_plain(file: Path) -> None:
    found = plain_config.parse(file.read_text("utf-8"), ConfigTree)
    assert found is not None
    assert shape(found) == shape(ConfigFactory.parse_file(str(file)))


def test_there_are_default_files() -> None:
    assert {"api.conf", "sdk.conf"} <= {file.name for file in FILES}
