"""The arguments that parsers have read, as they are remembered and shown."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path

import pytest

from autoinstrument.integrations import parsed_arguments
from autoinstrument.integrations.argument_words import read_line
from autoinstrument.integrations.parsed_arguments import argument, command_line, parsed, take, text_of


class Kind(Enum):
    ADAM = "adam"
    TWO = 2


@pytest.fixture(autouse=True)
def program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsed_arguments, "_arguments", {})
    monkeypatch.setattr(sys, "argv", ["train.py", "--lr", "2"])


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--password", "x", "--lr", "1"], "--password '********' --lr 1"),
        (["--token=x"], "'--token=********'"),
        (["--hf_token", "x"], "--hf_token '********'"),
        (["db.password=x", "lr=1"], "'db.password=********' lr=1"),
        (["postgresql://u:x@db/a?sslpassword=x"], "'postgresql://u:********@db/a?sslpassword=********'"),
        (["--max-tokens", "5"], "--max-tokens 5"),
        (["--verbose-secret", "--lr", "1"], "--verbose-secret --lr 1"),
        (["--uri", "http://u:x@host"], "--uri 'http://u:********@host'"),
        (["--password="], "--password="),
        ([], ""),
    ],
)
def test_secrets_of_a_command_line_are_hidden(argv: list[str], line: str) -> None:
    assert command_line(argv) == line


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0.5, "0.5"),
        (Kind.ADAM, "adam"),
        (Kind.TWO, "TWO"),
        (["a", 1], "['a', 1]"),
        ((Path("a"), Kind.ADAM), "['a', 'adam']"),
    ],
)
def test_values_are_texts_that_a_command_line_can_give(value: object, text: str) -> None:
    assert text_of(value) == text


def test_a_file_is_its_name(tmp_path: Path) -> None:
    with (tmp_path / "data").open("w") as file:
        assert text_of(file) == file.name


def test_arguments_belong_to_the_program_that_was_parsed_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPython runs one program after the other in one process."""
    take([argument("lr", 2, options={"--lr": 1}, default=1)])
    assert parsed() == [("lr", "2", "int")]
    line = read_line()
    assert line is not None
    assert line["words"] == [["lr", "--lr", "2"]]
    assert read_line() is line
    monkeypatch.setattr(sys, "argv", ["other.py", "x"])
    assert (parsed(), read_line()) == ([("argv", "x", "")], None)


def test_secrets_are_hidden_wherever_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--pin", "hunter2", "--api-key", "hunter2", "db.password=hunter2"])
    take(
        [
            argument("pin", "hunter2", options={"--pin": 1}, default="hunter2", secret=True),
            argument("api_key", "hunter2", options={"--api-key": 1}),
            argument("words", ["--token", "hunter2", "db.password='hunter2 x'"], options={"": -1}, form="list"),
        ]
    )
    assert "hunter2" not in repr((parsed(), read_line()))


def test_values_without_a_text_are_left_out() -> None:
    class Bad:
        def __str__(self) -> str:
            raise RuntimeError

    assert argument("bad", Bad(), options={}) is None
    assert argument("handler", print, options={}) is None
