"""Learn how argparse understands the command line, without a change to how it parses.

Runs in every process that imports argparse, with MLflow or without: it imports only what argparse has imported.
"""

from __future__ import annotations

import functools
import sys
from _thread import _local  # what threading.local is; threading itself is not loaded yet

from autoinstrument.tracebacks import users_call

TYPE_CHECKING = False  # type checkers take it for typing's; typing is not loaded yet
if TYPE_CHECKING:
    from typing import Any

    from autoinstrument.records import Param

HYDRA = "Hydra/"
"""Prefix of the names of Hydra's overrides."""
_LONGEST = 64 * 1024
_watched: list[type[Any]] = []
_nesting = _local()
_parsed: dict[str, Param] = {}
_last: list[Any] = []
_program: list[str] = []
"""The program that was parsed for, as in `sys.argv[0]`."""


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
        command_line = depth == 0 and _is_command_line(args)
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
                    _remember(result[0])
            except Exception:  # noqa: S110  (whatever the user's values raise when they are shown, their parsing has succeeded)
                pass
        return result

    return parse


def parsed() -> list[Param]:
    """Return the command line by name as argparse understood it, or in one piece as `argv` where no parser read it.

    Values are those of the time of parsing; None is the empty string, as ClearML's own argparse binding stores it (a
    clone would otherwise be given the text "None"). Secrets are shown as "********". Empty where nothing was given, and
    without the options of a launcher: it reads its own, and then names the script in `sys.argv` (loky's workers do).
    """
    if _parsed and _program == _argv()[:1]:
        return [*_hydra(), *(param for name, param in _parsed.items() if not (name == "overrides" and _is_hydra()))]
    line = command_line(_argv()[1:])
    return [("argv", line, "")] if line else []


def _is_hydra() -> bool:
    return "hydra" in sys.modules and "config_name" in _parsed


def _hydra() -> list[Param]:
    """Return Hydra's overrides (its parser's only positional argument) one by one, named as in `Hydra/optimizer.lr`."""
    if not _is_hydra() or "overrides" not in _parsed:
        return []
    import ast

    return hydra_overrides(ast.literal_eval(_parsed["overrides"][1]))


def hydra_overrides(given: list[str]) -> list[Param]:
    """Return Hydra's overrides one by one, named as in `Hydra/optimizer.lr`, with the values of secret ones hidden."""
    from autoinstrument.scrubber import hide_named

    named = [override.partition("=") for override in given]
    return [(f"{HYDRA}{name}", hide_named(name, value), "") for name, _, value in named]


def command_line(argv: list[str]) -> str:
    """Return the arguments as a shell would take them, with the values of secret options hidden."""
    import shlex

    from autoinstrument.scrubber import hide, hide_in_arguments, is_secret

    shown: list[str] = []
    secret_next = False
    for argument in map(str, argv):
        name, equals, value = argument.partition("=")
        option = name.startswith("-") or bool(equals)
        if secret_next and not argument.startswith("-"):
            shown.append(hide(argument))
        elif option and equals and is_secret(name):
            shown.append(f"{name}={hide(value)}")
        else:
            shown.append(hide_in_arguments(argument))
        secret_next = name.startswith("-") and not equals and is_secret(name)
    return shlex.join(shown)


def _argv() -> list[str]:
    return list(getattr(sys, "argv", []))


def _is_command_line(args: Any) -> bool:
    return args is None or list(args) == _argv()[1:]


def _edited(parser: Any, args: Any) -> Any:
    """Return the arguments of the Task where a ClearML agent runs it, else those given."""
    under_agent = sys.modules.get("autoinstrument.clone_run.start")
    if under_agent is None:
        return args
    from autoinstrument.guard import guard

    with guard("taking the arguments of the Task"):
        edited = under_agent.edited(parser)
        return args if edited is None else edited
    return args


def _remember(namespace: Any) -> None:
    from autoinstrument.scrubber import hide, hide_in_arguments, is_secret

    if _program != _argv()[:1]:
        _parsed.clear()
    _last[:], _program[:] = [namespace], _argv()[:1]
    for name, value in vars(namespace).items():
        # A function is a sub-command's handler or an option's converted value; neither can be given back as text, and
        # ClearML's binding (2.1.12) leaves them out as well.
        if isinstance(name, str) and not callable(value):
            try:
                text = "" if value is None else str(value)[:_LONGEST]
            except Exception:  # noqa: S112 - the user's own __str__
                continue
            secret = is_secret(name) and not isinstance(value, bool)
            _parsed[name] = (name, hide(text) if secret else hide_in_arguments(text), type(value).__name__)
