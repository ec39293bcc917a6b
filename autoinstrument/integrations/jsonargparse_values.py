"""Learn how jsonargparse, and with it Lightning's command line, understand the arguments; seen in 4.20 to 4.53.

Its parser has argparse's actions, but parses in its own way. Its values may come from configuration files.
"""

from __future__ import annotations

import contextlib
import functools
import json
from _thread import _local
from typing import Any

from autoinstrument.integrations.argparse_values import written as written_by_argparse
from autoinstrument.integrations.parsed_arguments import argument, is_command_line, take
from autoinstrument.records import Argument
from autoinstrument.tracebacks import users_call

_nesting = _local()


def watch(module: Any) -> None:
    """Remember from now on what `jsonargparse.ArgumentParser` reads from the command line.

    Args:
        module: that of the class, whose `parse_args` is replaced by a plain function with the same result.
    """
    owner = module.ArgumentParser
    if getattr(owner.parse_args, "_autoinstrument", False):
        return
    original = owner.parse_args

    @functools.wraps(original)
    def parse(self: Any, args: Any = None, *more: Any, **named: Any) -> Any:
        depth = getattr(_nesting, "depth", 0)
        is_own = depth == 0 and is_command_line(args)
        _nesting.depth = depth + 1
        with users_call:
            try:
                result = original(self, args, *more, **named)
            finally:
                _nesting.depth = depth
        if is_own:
            with contextlib.suppress(Exception):  # whatever the user's values raise when they are shown
                found, help_texts = _read(self, result)
                take(found, anew=True, help_texts=help_texts)
        return result

    parse._autoinstrument = True  # type: ignore[attr-defined]
    owner.parse_args = parse


def _read(parser: Any, values: Any) -> tuple[list[Argument | None], dict[str, Any]]:
    """Return the arguments of a parser and of the sub-commands that were chosen, and their help texts."""
    found: list[Argument | None] = []
    chosen: list[str] = []
    level = 0
    actions: dict[str, tuple[Any, int]] = {}
    while parser is not None:
        below = None
        for action in parser._actions:
            name = ".".join([*chosen, action.dest])
            actions[name] = action, level
            if hasattr(action, "_name_parser_map") and values.get(name) in action.choices:
                below = values.get(name), action.choices[values.get(name)]
        if below is not None:
            chosen.append(below[0])
        parser, level = (below[1], level + 1) if below is not None else (None, level)
    for name, value in vars(values.as_flat()).items():
        if name.rpartition(".")[2] == "__path__":
            continue
        action, at = actions.get(name, (None, _level(name, chosen)))
        if hasattr(action, "_name_parser_map"):
            found.append(argument(name, value, options={"": 1}, form="command", level=at))
        else:
            spelling = f"--{name.removeprefix(''.join(f'{one}.' for one in chosen[:at]))}"
            written = _of_action(action, spelling)
            found.append(argument(name, _plain(value), level=at, **written))
    return found, {name: action.help for name, (action, _) in actions.items()}


def _level(name: str, chosen: list[str]) -> int:
    level = 0
    for number in range(1, len(chosen) + 1):
        if name.startswith("".join(f"{one}." for one in chosen[:number])):
            level = number
    return level


def _of_action(action: Any, spelling: str) -> dict[str, Any]:
    """Return how a command line gives a value: that of a class has its own options, and no action."""
    if action is None or type(action).__name__ in ("ActionConfigFile", "ActionTypeHint", "_ActionConfigLoad"):
        options = dict.fromkeys(getattr(action, "option_strings", None) or ([spelling] if action is None else [""]), 1)
        return {"options": options}
    if type(action).__name__ == "ActionYesNo":
        yes, *no = action.option_strings
        return {"options": dict.fromkeys([yes, *no], 0), "flags": {"True": yes, "False": no[0] if no else ""}}
    return written_by_argparse(action)


def _plain(value: Any) -> Any:
    """Return a value in the form in which jsonargparse reads it; lists and dicts are JSON."""
    if isinstance(value, (list, dict)):
        try:
            return json.dumps(value, default=str)
        except (TypeError, ValueError):
            return str(value)
    return value
