"""The arguments of the program, as the parsers that read the command line understood them.

A small reader for each library, beside this module, gives it what a parser has read after it has parsed. Runs in every
process that imports argparse, with MLflow or without: it imports only what argparse has imported.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # type checkers take it for typing's; typing is not loaded yet
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from autoinstrument.records import Argument, Param

HYDRA = "Hydra/"
"""Prefix of the names of Hydra's overrides."""
MANY, MAYBE = -1, -2
"""Numbers of words of an option: all up to the next option; none or one."""
_LONGEST, _LONGEST_HELP = 64 * 1024, 1000
_BASIC = (str, int, float, bool, type(None))
_arguments: dict[str, Argument] = {}
_help: dict[str, str] = {}
"""Help texts of the parsers, by the argument's name."""
_program: list[str] = []
"""The program that was parsed for, as in `sys.argv[0]`."""


def is_command_line(args: Any) -> bool:
    """Return True if a parser that is given `args` reads the arguments of the program."""
    return args is None or list(args) == argv()[1:]


def argv() -> list[str]:
    """Return `sys.argv`, [] if there is none."""
    return list(getattr(sys, "argv", []))


def argument(
    name: str,
    value: Any,
    *,
    options: Mapping[str, int],
    default: Any = None,
    form: str = "value",
    flags: Mapping[str, str] | None = None,
    level: int = 0,
    secret: bool = False,
) -> Argument | None:
    """Return what was read for an argument, with the value as it is now; None if the value cannot be shown.

    Args:
        name: what the Task calls it.
        value: any object; the user's own `__str__` may be called.
        options: see `Argument`, like those below.
        default: the value that the parser gives if the argument is not there, None if it is not known.
        form: how a command line gives it.
        flags: words by value.
        level: of the command that takes it.
        secret: the value must not be shown, whatever its name.
    """
    from autoinstrument.scrubber import hide, hide_in_arguments, is_secret

    # A function is a sub-command's handler or an option's converted value; neither can be given back as text, and
    # ClearML's binding of argparse (2.1.12) leaves them out as well.
    if callable(value):
        return None
    if type(value) in (list, tuple) and all(type(item) is str for item in value):
        value = type(value)(without_secrets(value))  # words of a command line, or overrides
    try:
        text, before = text_of(value)[:_LONGEST], "" if callable(default) else text_of(default)[:_LONGEST]
    except Exception:  # of the user's own __str__
        return None
    is_hidden = secret or (is_secret(name) and not isinstance(value, bool))
    show = hide if is_hidden else hide_in_arguments
    return {
        "name": name,
        "value": show(text),
        "type": type(value).__name__,
        "default": show(before),
        "form": form,
        "options": dict(options),
        "flags": dict(flags or {}),
        "level": level,
    }


def text_of(value: Any) -> str:
    """Return a value as text that a command line can give; None is the empty string.

    ClearML's own binding of argparse stores None in this way (a clone would otherwise be given the text "None").
    """
    if value is None:
        return ""
    if type(value) in _BASIC:
        return str(value)
    if isinstance(value, (list, tuple)):
        if any(type(item) not in _BASIC for item in value):
            return str([text_of(item) for item in value])
        return str(value)
    enum: Any = sys.modules.get("enum")
    if enum is not None and isinstance(value, enum.Enum):
        return value.value if isinstance(value.value, str) else str(value.name)
    if hasattr(value, "read") and isinstance(getattr(value, "name", None), str):
        return str(value.name)  # an open file
    return str(value)


def take(
    read: Iterable[Argument | None], *, anew: bool = False, help_texts: Mapping[str, object] | None = None
) -> None:
    """Remember arguments that a parser of the command line has read.

    Args:
        read: as `argument` returns them. One that is there already gets a new value, and more spellings.
        anew: forget what other parsers have read.
        help_texts: help texts of the parser, by the argument's name; other values than texts are ignored.
    """
    if anew or _program != argv()[:1]:
        _arguments.clear()
        _help.clear()
    _program[:] = argv()[:1]
    for found in read:
        if found is not None:
            before = _arguments.get(found["name"])
            if before is not None:
                found["options"] = {**before["options"], **found["options"]}
                found["flags"] = {**before["flags"], **found["flags"]} if found["flags"] else {}
            _arguments[found["name"]] = found
    for name, text in (help_texts or {}).items():
        if name in _arguments and isinstance(text, str) and text != "==SUPPRESS==":
            default = _arguments[name]["default"]
            _help[name] = text[:_LONGEST_HELP].replace("%(default)s", default).replace("%%", "%").strip()


def parsed() -> list[Param]:
    """Return the command line by name as a parser understood it, or in one piece as `argv` where no parser was read.

    Values are those of the time of parsing. Secrets are shown as "********". Empty where nothing was given, and
    without the options of a launcher: it reads its own, and then names the script in `sys.argv` (loky's workers do).
    """
    if found := arguments():
        named = [(one["name"], one["value"], one["type"]) for one in found]
        return [*_hydra(), *(param for param in named if not (param[0] == "overrides" and is_hydra()))]
    line = command_line(argv()[1:])
    return [("argv", line, "")] if line else []


def arguments() -> list[Argument]:
    """Return what the parsers of the program's command line have read, [] where none was read."""
    return list(_arguments.values()) if _program == argv()[:1] else []


def help_texts() -> dict[str, str]:
    """Return the help texts of the parsers, by the argument's name."""
    return dict(_help) if _program == argv()[:1] else {}


def is_hydra() -> bool:
    """Return True if the command line was read by Hydra's parser."""
    return "hydra" in sys.modules and "config_name" in _arguments


def _hydra() -> list[Param]:
    """Return Hydra's overrides (its parser's only positional argument) one by one, named as in `Hydra/optimizer.lr`."""
    if not is_hydra() or "overrides" not in _arguments:
        return []
    import ast

    return hydra_overrides(ast.literal_eval(_arguments["overrides"]["value"]))


def hydra_overrides(given: list[str]) -> list[Param]:
    """Return Hydra's overrides one by one, named as in `Hydra/optimizer.lr`, with the values of secret ones hidden."""
    from autoinstrument.scrubber import hide_named

    named = [override.partition("=") for override in given]
    return [(f"{HYDRA}{name}", hide_named(name, value), "") for name, _, value in named]


def command_line(words: list[str]) -> str:
    """Return the arguments as a shell would take them, with the values of secret options hidden."""
    import shlex

    return shlex.join(without_secrets(words))


def without_secrets(words: Iterable[str]) -> list[str]:
    """Return the words of a command line with the values of secret options hidden."""
    from autoinstrument.scrubber import hide, hide_in_arguments, is_secret

    shown: list[str] = []
    secret_next = False
    for word in map(str, words):
        name, equals, value = word.partition("=")
        option = name.startswith("-") or bool(equals)
        if secret_next and not word.startswith("-"):
            shown.append(hide(word))
        elif option and equals and is_secret(name):
            shown.append(hide_in_arguments(f"{name}={hide(value)}"))  # an address may stand before the `=`
        else:
            shown.append(hide_in_arguments(word))
        secret_next = name.startswith("-") and not equals and is_secret(name)
    return shown
