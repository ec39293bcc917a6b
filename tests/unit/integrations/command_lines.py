"""A program that is run with a command line, and again with the one that its clone is given."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from autoinstrument.clone_run.command_line import line_of, rewritten
from autoinstrument.integrations import parsed_arguments
from autoinstrument.integrations.argument_words import read_line
from autoinstrument.integrations.parsed_arguments import parsed


class Trial:
    """Runs a program in this process; its arguments are forgotten before and after."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(parsed_arguments, "_arguments", {})

    def run(self, program: Callable[[], Any], *words: str) -> Any:
        """Return what the program returns for a command line."""
        self._monkeypatch.setattr(sys, "argv", ["train.py", *words])
        return program()

    def shown(self, program: Callable[[], Any], *words: str) -> dict[str, str]:
        """Return the section `Args` of its Task; an unchanged clone gets the same words."""
        self.run(program, *words)
        values = {name: value for name, value, _ in parsed()}
        line = line_of(json.dumps(read_line()))
        assert line is not None
        assert rewritten(line, values) == list(words)
        return values

    def edited(self, program: Callable[[], Any], *words: str, changed: dict[str, str]) -> Any:
        """Return what the program returns in a clone of which some values were changed."""
        values = self.shown(program, *words)
        line = read_line()
        assert line is not None
        result = self.run(program, *rewritten(line, values | changed))
        again = {name: value for name, value, _ in parsed()}
        assert again == values | changed  # what the clone's Task shows
        return result
