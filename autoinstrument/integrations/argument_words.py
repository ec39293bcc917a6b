"""Find out which words of a command line give which argument, by what the parser's library accepts.

One grammar for all libraries: `--name value`, `--name=value`, `-n value`, `-nvalue`, joined flags (`-xv`), unambiguous
beginnings of long options, `--`, positional arguments, and sub-commands with options of their own.
"""

from __future__ import annotations

from collections.abc import Iterable

from autoinstrument.integrations.parsed_arguments import MANY, MAYBE, argv, without_secrets
from autoinstrument.integrations.parsed_arguments import arguments as read_arguments
from autoinstrument.records import Argument, CommandLine
from autoinstrument.scrubber import MASK, hide

Group = list[str]
"""The name of an argument, "" if it is not known, and the words that give it."""


_last: list[tuple[list[str], CommandLine]] = []


def read_line() -> CommandLine | None:
    """Return the command line with what each of its words gives, None where no parser was read."""
    words, arguments = argv()[1:], read_arguments()
    if not arguments:
        return None
    if not _last or _last[0][0] != words or _last[0][1]["arguments"] != arguments:
        _last[:] = [(words, {"arguments": arguments, "words": attributed(words, arguments)})]
    return _last[0][1]


def attributed(words: Iterable[str], arguments: Iterable[Argument]) -> list[Group]:
    """Return the words in groups, see `CommandLine`, with secrets hidden.

    Joined flags of different arguments become words of their own.
    """
    arguments = list(arguments)
    found = _Words(words, arguments).groups()
    secret = {argument["name"] for argument in arguments if argument["value"] == MASK}
    shown = iter(without_secrets([word for group in found for word in group[1:]]))
    groups = [[group[0], *(next(shown) for _ in group[1:])] for group in found]
    return [_hidden(group) if group[0] in secret else group for group in groups]


def _hidden(group: Group) -> Group:
    name, first, *rest = group
    if not first.startswith("-"):
        return [name, MASK, *map(hide, rest)]
    option, equals, _ = first.partition("=")
    if equals:
        return [name, f"{option}={MASK}"]
    return [name, first, *map(hide, rest)] if rest or len(first) < 3 else [name, f"{first[:2]}{MASK}"]


class _Words:
    """The words that are left, and the level that the next one belongs to."""

    def __init__(self, words: Iterable[str], arguments: list[Argument]) -> None:
        self._left = [str(word) for word in words]
        self._arguments = arguments
        self._level = 0
        self._groups: list[Group] = []
        self._loose: list[Group] = []
        """Groups of the present level whose words are positional, and not given to an argument yet."""

    def groups(self) -> list[Group]:
        only_positional = False
        while self._left:
            word = self._left[0]
            command = self._command()
            if word == "--" and not only_positional:
                only_positional = True
                self._groups.append(["", self._left.pop(0)])
            elif word.startswith("-") and len(word) > 1 and not only_positional and self._option(word):
                pass
            elif command is not None and word == command["value"] and self._has_room_for(command):
                self._groups.append([command["name"], self._left.pop(0)])
                self._next_level()
            else:
                self._groups.append(["", self._left.pop(0)])
                self._loose.append(self._groups[-1])
        self._next_level()
        return self._groups

    def _of_level(self) -> list[Argument]:
        return [argument for argument in self._arguments if argument["level"] == self._level]

    def _command(self) -> Argument | None:
        return next((argument for argument in self._of_level() if argument["form"] == "command"), None)

    def _positional(self) -> list[Argument]:
        return [
            argument for argument in self._of_level() if "" in argument["options"] and argument["form"] != "command"
        ]

    def _has_room_for(self, command: Argument) -> bool:
        """Return True if the words before a sub-command are enough for the positional arguments before it."""
        needed = sum(max(argument["options"][""], 0) for argument in self._positional())
        return len(self._loose) >= needed or self._left.count(command["value"]) == 1

    def _next_level(self) -> None:
        positional = self._positional()
        spare = len(self._loose) - sum(max(argument["options"][""], 0) for argument in positional)
        words = iter(self._loose)
        for argument in positional:
            size = argument["options"][""]
            if size == MANY:
                size, spare = max(spare, 0), 0
            elif size == MAYBE:
                size, spare = (1, spare - 1) if spare > 0 else (0, spare)
            for _, group in zip(range(size), words, strict=False):
                group[0] = argument["name"]
        self._loose = []
        self._level += 1

    def _option(self, word: str) -> bool:
        """Take an option with its words; return False if no argument has it."""
        spellings = {
            spelling: argument for argument in self._of_level() for spelling in argument["options"] if spelling
        }
        name, equals, _ = word.partition("=")
        spelling = name if name in spellings else ""
        if not spelling and name.startswith("--"):
            begun = {id(spellings[one]): one for one in spellings if one.startswith(name)}
            spelling = next(iter(begun.values())) if len(begun) == 1 else ""
        if spelling:
            argument = spellings[spelling]
            self._left.pop(0)
            rest = [] if equals else self._following(argument["options"][spelling])
            self._groups.append([argument["name"], word, *rest])
            return True
        short = spellings.get(word[:2]) if not word.startswith("--") else None
        if short is None:
            if equals or len(word) < 2 or _is_number(word):
                return False
            self._groups.append(["", self._left.pop(0)])
            return True
        self._left.pop(0)
        if short["options"][word[:2]] != 0 or set(word[1:]) == {word[1]}:
            self._groups.append([short["name"], word])  # -nvalue, or -vvv
        else:
            self._groups.append([short["name"], word[:2]])
            self._left.insert(0, f"-{word[2:]}")
        return True

    def _following(self, size: int) -> list[str]:
        """Take the words that an option has."""
        taken: list[str] = []
        while self._left and (size < 0 or len(taken) < size):
            word = self._left[0]
            if size < 0 and word.startswith("-") and len(word) > 1 and not _is_number(word):
                break
            taken.append(self._left.pop(0))
            if size == MAYBE:
                break
        return taken


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
