"""The help of every command ends with examples, and each of them is a command that can be called."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from autoinstrument.cli import main
from autoinstrument.cli.examples import examples


def commands(group: click.Group, *names: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)
        else:
            yield (*names, name)


@pytest.mark.parametrize("names", list(commands(main)), ids=" ".join)
def test_examples(names: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, [*names, "--help"], terminal_width=80)
    lines = done.output.splitlines()
    assert max(map(len, lines)) <= 80
    head = max(i for i, line in enumerate(lines) if line.strip() in ("Example:", "Examples:"))
    shown = [shlex.split(line, comments=True) for line in lines[head + 1 :]]
    assert shown
    for words in shown:
        words = words[1:] if words[:1] == ["eval"] else words
        program, *rest = shlex.split(words[0].strip("$()")) if len(words) == 1 else words
        rest = rest[: rest.index("|")] if "|" in rest else rest
        assert program == "autoinstrument"
        parse(rest, names)


@pytest.mark.parametrize("names", [[], ["worker"]], ids=["all", "worker"])
def test_the_list_of_commands_has_whole_sentences(names: list[str]) -> None:
    """It is what a newcomer reads first; click cuts what does not fit into a line."""
    lines = CliRunner().invoke(main, [*names, "--help"], terminal_width=80).output.splitlines()
    listed = lines[lines.index("Commands:") + 1 :]
    assert listed
    assert [line for line in listed if not line.endswith(".") or line.endswith("...")] == []


def test_one_example_and_several() -> None:
    assert examples("a b") == "\b\nExample:\n  a b"
    assert examples("a", "b") == "\b\nExamples:\n  a\n  b"


def parse(words: list[str], names: tuple[str, ...]) -> None:
    """Parse a command line without running the command; click raises an error for a wrong one."""
    command: click.Command = main
    context = click.Context(main)
    for name in names:
        assert isinstance(command, click.Group)
        assert words.pop(0) == name
        command = command.commands[name]
        context = click.Context(command, parent=context, info_name=name, **command.context_settings)
    command.parse_args(context, words)
