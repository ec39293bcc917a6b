"""Learn how python-fire understands the command line; seen in fire 0.4 to 0.7.

Fire calls functions and classes one after the other, and looks for each one's arguments just before it calls it. Its
options may stand anywhere.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from autoinstrument.integrations.parsed_arguments import MANY, MAYBE, argument, argv, take
from autoinstrument.records import Argument
from autoinstrument.tracebacks import users_call

_left: list[str] = []
"""The words that the last call has left."""
_is_own = False
"""True while Fire reads the command line."""


def watch(core: Any) -> None:
    """Remember from now on what Fire reads from the command line.

    Args:
        core: the module `fire.core`; its `_Fire` and `_MakeParseFn` are replaced by plain functions with the same
            results.
    """
    if not getattr(core._Fire, "_autoinstrument", False):
        core._Fire = _firing(core._Fire, core.parser.SeparateFlagArgs)
        core._MakeParseFn = _making(core._MakeParseFn)


def _firing(original: Any, without_fires_own: Any) -> Any:
    @functools.wraps(original)
    def fire(component: Any, args: Any, *more: Any, **named: Any) -> Any:
        global _is_own
        before = _is_own, list(_left)  # ClearML's binding (2.1.12) fires once more inside the program's own call
        _is_own = list(args) == list(without_fires_own(argv()[1:])[0])
        _left[:] = args
        if _is_own:
            take([], anew=True)  # what Fire's own argparse parser has read
        with users_call:
            try:
                return original(component, args, *more, **named)
            finally:
                _is_own, _left[:] = before

    fire._autoinstrument = True  # type: ignore[attr-defined]
    return fire


def _making(original: Any) -> Any:
    @functools.wraps(original)
    def make(fn: Any, metadata: Any) -> Any:
        with users_call:
            parse = original(fn, metadata)
        if not _is_own:
            return parse

        @functools.wraps(parse)
        def parse_and_tell(args: Any) -> Any:
            given = list(args)
            with users_call:
                result = parse(args)
            try:
                _take(fn, given, *result[0])
                _left[:] = result[2]
            except Exception:  # noqa: S110  (whatever the user's values raise when they are shown, their parsing has succeeded)
                pass
            return result

        return parse_and_tell

    return make


def _take(fn: Any, given: list[str], values: list[Any], named: dict[str, Any]) -> None:
    found: list[Argument | None] = []
    members = _left[: max(len(_left) - len(given), 0)]
    for number, word in enumerate(members):
        prefix = f"{getattr(fn, '__name__', 'call')}/" if number + 1 < len(members) else ""
        found.append(argument(f"{prefix}command", word, options={"": 1}))
    parameters = [
        parameter
        for parameter in inspect.signature(fn).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    rest = inspect.signature(fn).parameters
    for parameter, value in zip(parameters, values, strict=False):
        found.append(_argument(parameter.name, value, parameter.default, given))
    if len(values) > len(parameters):
        name = next((one.name for one in rest.values() if one.kind is one.VAR_POSITIONAL), "args")
        found.append(argument(name, tuple(values[len(parameters) :]), options={"": MANY}, form="list"))
    for name, value in named.items():
        default = rest[name].default if name in rest else None
        found.append(_argument(name, value, default, given))
    for parameter in rest.values():
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in named:
            found.append(_argument(parameter.name, parameter.default, parameter.default, given))
    take(found)


def _argument(name: str, value: Any, default: Any, given: list[str]) -> Argument | None:
    dashed = name.replace("_", "-")
    spellings = [f"--{name}", f"-{name}", f"--{dashed}", f"-{dashed}", f"--no{name}", f"-no{name}", f"-{name[0]}"]
    options = dict.fromkeys(spellings, MAYBE)
    default = None if default is inspect.Parameter.empty else default
    is_named = any(word.partition("=")[0] in options for word in given)
    if not is_named and value != default:
        options[""] = 1
    return argument(name, value, default=default, options=options)
