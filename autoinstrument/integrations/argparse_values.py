"""Learn how argparse understands the command line, without a change to how it parses.

Runs in every process that imports argparse, with MLflow or without: it imports only what argparse has imported.
"""

from __future__ import annotations

import functools
import sys
from _thread import _local  # what threading.local is; threading itself is not loaded yet

from autoinstrument.integrations.parsed_arguments import MANY, MAYBE, argument, argv, is_command_line, take
from autoinstrument.tracebacks import users_call

TYPE_CHECKING = False  # type checkers take it for typing's; typing is not loaded yet
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from autoinstrument.records import Argument

_watched: list[type[Any]] = []
_nesting = _local()
_last: list[Any] = []


def watch(argparse: Any) -> None:
    """Remember from now on what `ArgumentParser` reads from the command line.

    Args:
        argparse: the module. `ArgumentParser.parse_known_args`, through which every other way of parsing goes, and
            `parse_known_intermixed_args`, which goes past it in newer Pythons (seen in 3.12.10), are replaced by plain
            functions of the same names and signatures that give back the same objects.
    """
    parser_class = argparse.ArgumentParser
    if parser_class in _watched:
        return
    for name in ("parse_known_args", "parse_known_intermixed_args"):
        setattr(parser_class, name, _parsing(getattr(parser_class, name)))
    _watched.append(parser_class)


def _parsing(original: Any) -> Any:
    @functools.wraps(original)
    def parse(self: Any, args: Any = None, namespace: Any = None) -> Any:
        # Sub-commands are parsed by other parsers inside the outermost call, which has all values in the end.
        depth = getattr(_nesting, "depth", 0)
        command_line = depth == 0 and is_command_line(args)
        if command_line:
            args = _edited(self, args)
        _nesting.depth = depth + 1
        with users_call:
            try:
                result = original(self, args, namespace)
            finally:
                _nesting.depth = depth
        if depth == 0:
            try:
                # A second parser may be given the rest of the arguments and the first one's namespace.
                if command_line or (_last and namespace is _last[0]):
                    _last[:] = [result[0]]
                    take(read(self, vars(result[0])), help_texts=_help(self, vars(result[0])))
            except Exception:  # noqa: S110  (whatever the user's values raise when they are shown, their parsing has succeeded)
                pass
        return result

    return parse


def _edited(parser: Any, args: Any) -> Any:
    """Return the arguments of the Task if a ClearML agent runs one that records no command line."""
    under_agent = sys.modules.get("autoinstrument.clone_run.start")
    if under_agent is None:
        return args
    from autoinstrument.guard import guard

    with guard("taking the arguments of the Task"):
        edited = under_agent.edited(lambda values: list(_editable(parser, values)))
        return args if edited is None else edited
    return args


def _editable(parser: Any, values: dict[str, str]) -> Iterator[Argument]:
    """Yield the arguments of a parser with their defaults, without those whose type refuses the text of a Task."""
    from autoinstrument.guard import logger

    for action, level in _actions(parser, values, 0):
        name = action.dest
        if hasattr(action, "_name_parser_map"):
            found = _command(action, level, {})
            if values.get(name) not in action.choices:
                continue
        else:
            found = argument(name, action.default, default=action.default, level=level, **written(action))
            text = values.get(name)
            if text and callable(action.type) and action.nargs is None and (found is None or text != found["default"]):
                try:
                    action.type(text)
                except Exception as error:  # the type is the user's own function
                    logger().warning("Args/%s: %r is not understood (%s); the default counts", name, text, error)
                    continue
        if found is not None:
            yield found


def read(parser: Any, values: dict[str, Any]) -> Iterator[Argument | None]:
    """Yield what a parser has read.

    Args:
        parser: an `ArgumentParser`.
        values: what it has read, by `dest`.
    """
    seen: set[str] = set()
    for action, level in _actions(parser, values, 0):
        name = action.dest
        if hasattr(action, "_name_parser_map"):
            yield _command(action, level, values)
        elif name in values:
            # `take` joins the spellings where several options have one name.
            yield argument(name, values[name], default=action.default, level=level, **written(action))
        else:
            continue
        seen.add(name)
    for name, value in values.items():
        if name not in seen and isinstance(name, str):
            yield argument(name, value, options={}, default=value)


def _help(parser: Any, values: dict[str, Any]) -> dict[str, Any]:
    return {action.dest: action.help for action, _ in _actions(parser, values, 0)}


def _actions(parser: Any, values: dict[str, Any], level: int) -> Iterator[tuple[Any, int]]:
    actions = sorted(parser._actions, key=lambda action: action.nargs != 0)  # those with values come last, and win
    for action in actions:
        if isinstance(action.dest, str):
            yield action, level
        if hasattr(action, "_name_parser_map"):
            below = action.choices.get(_chosen(action, values))
            if below is not None:
                yield from _actions(below, values, level + 1)


def _chosen(action: Any, values: dict[str, Any]) -> str:
    """Return the sub-command; where it has no `dest`, the first word that names one."""
    if action.dest in values:
        return str(values[action.dest] or "")
    return next((word for word in argv()[1:] if word in action.choices), "")


def _command(action: Any, level: int, values: dict[str, Any]) -> Argument | None:
    name = action.dest if action.dest != "==SUPPRESS==" else "command"
    return argument(name, _chosen(action, values) or None, options={"": 1}, form="command", level=level)


def written(action: Any) -> dict[str, Any]:
    """Return the fields of `Argument` that describe how a command line gives it."""
    kind = {one.__name__ for one in type(action).__mro__}
    spellings = list(action.option_strings) or [""]
    many = {"?": MAYBE, "*": MANY, "+": MANY, "...": MANY, "A...": MANY}
    words = 1 if action.nargs is None else many.get(action.nargs, action.nargs)
    options = dict.fromkeys(spellings, words)
    if "BooleanOptionalAction" in kind:
        no = next((spelling for spelling in spellings if spelling.startswith("--no-")), "")
        yes = next((spelling for spelling in spellings if not spelling.startswith("--no-")), spellings[0])
        return {"options": dict.fromkeys(spellings, 0), "form": "flag", "flags": {"True": yes, "False": no}}
    long = next((spelling for spelling in spellings if spelling.startswith("--")), spellings[0])
    if "_CountAction" in kind:
        return {"options": options, "form": "count"}
    if words == 0:
        return {"options": options, "form": "flag", "flags": {str(getattr(action, "const", None)): long}}
    if action.type is bool and words == 1 and long:  # every text but the empty one is True
        return {"options": options, "flags": {"True": f"{long}=True", "False": f"{long}="}}
    if "_AppendAction" in kind or "_ExtendAction" in kind:
        return {"options": options, "form": "list" if "_ExtendAction" in kind else "repeated"}
    return {"options": options, "form": "list" if words == MANY or isinstance(action.nargs, int) else "value"}
