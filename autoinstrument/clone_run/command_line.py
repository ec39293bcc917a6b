"""Write the command line that gives a parser the values of a Task's parameters.

The parser then reads it as it reads one that a person typed, with its own types, choices, actions and errors.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Mapping
from typing import Any

from autoinstrument.guard import logger
from autoinstrument.scrubber import MASK
from autoinstrument.switch import is_on


def overrides(section: Mapping[str, str]) -> list[str]:
    """Return Hydra's overrides in the section `Hydra`, as a person types them; `~name` may have no value."""
    return [
        name if name.startswith("~") and not value else f"{name}={value}"
        for name, value in section.items()
        if value != MASK
    ]


def arguments_for(parser: argparse.ArgumentParser, values: Mapping[str, str]) -> list[str]:
    """Return the arguments that make the parser return these values.

    Args:
        parser: the script's parser, with all its options.
        values: text by `dest`. Left out are defaults, hidden values, names that are no option of the parser, and texts
            that the option's type refuses, which is logged.
    """
    positional: list[str] = []
    lists: list[str] = []
    single: list[str] = []
    command: list[str] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            name = values.get(action.dest, "")
            if name in action.choices:
                command = [name, *arguments_for(action.choices[name], values)]
            continue
        text = values.get(action.dest)
        if text is None or text == MASK or text == _shown(action.default):
            continue
        words = _words(action, text)
        if not action.option_strings:
            positional += words
        elif action.nargs in ("+", "*") or isinstance(action.nargs, int):
            lists += words
        else:
            single += words
    return [*positional, *lists, *single, *command]  # the next option ends a list


def _words(action: argparse.Action, text: str) -> list[str]:
    option = next((word for word in action.option_strings if word.startswith("--")), (*action.option_strings, "")[0])
    if isinstance(action, argparse.BooleanOptionalAction):
        wanted = is_on(text)
        return [word for word in action.option_strings if word.startswith("--no-") != wanted][:1]
    if isinstance(action, argparse._CountAction):
        return [option] * (int(text or 0) - int(action.default or 0))
    if action.nargs == 0:
        const = action.const if isinstance(action, argparse._StoreConstAction) else None
        chosen = (is_on(text)) == const if isinstance(const, bool) else text == str(const)
        return [option] if const is not None and chosen else []
    if isinstance(action, argparse._AppendAction):
        given = _items(text)
        before = list(map(str, action.default or []))
        added = given[len(before) :] if given[: len(before)] == before else given
        return [word for item in added for word in _single(action, option, item)]
    if action.nargs in ("+", "*") or isinstance(action.nargs, int):
        items = _items(text)
        return [*([option] if option and items else []), *items]
    return _single(action, option, text)


def _single(action: argparse.Action, option: str, text: str) -> list[str]:
    kind: Any = action.type
    if kind is bool:
        text = "True" if is_on(text) else ""
    elif not text and kind not in (None, str):
        return []
    elif callable(kind):
        try:
            kind(text)
        except Exception as error:  # the type is the user's own function
            logger().warning("Args/%s: %r is not understood (%s); the default counts", action.dest, text, error)
            return []
    return [f"{option}={text}"] if option else [text]


def _items(text: str) -> list[str]:
    """Return the items of a list as `str` writes it, or as a person may type it: separated by commas or blanks."""
    try:
        value = ast.literal_eval(text.strip() or "[]")
    except (ValueError, SyntaxError):
        return text.strip().strip("[]()").replace(",", " ").split()
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else [str(value)]


def _shown(default: object) -> str:
    return "" if default is None else str(default)
