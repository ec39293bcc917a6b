"""Learn how tyro understands the command line; seen in tyro 0.9.1 to 1.0.17.

tyro has its own parsers (up to 0.9 a copy of argparse), and then fills in functions and classes, the outermost first.
Values are shown as the words that give them, because only tyro knows what makes a word of a value.
"""

from __future__ import annotations

import contextlib
import functools

from autoinstrument.integrations.parsed_arguments import MANY, MAYBE, argument, argv, is_command_line, take
from autoinstrument.tracebacks import users_call

TYPE_CHECKING = False  # type checkers take it for typing's
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from autoinstrument.records import Argument

_OF_COMMAND = " (positional)"
"""End of the name of a sub-command's choice among the values."""
_UNNAMED = "__tyro_dummy_inner__"
"""Name for the whole program if that is neither a function nor a class: a union of sub-commands."""

_filled: list[Any] = []
"""The specifications of the parsers that were chosen, in the present call of `tyro.cli`."""
_values: list[dict[str, Any]] = []
"""Values that the present call has read, by tyro's names."""


def watch(module: Any) -> None:
    """Remember from now on what `tyro.cli` reads from the command line.

    Args:
        module: `tyro._cli`; its `_cli_impl`, and `callable_with_args` of `tyro._calling`, are replaced by plain
            functions with the same results.
    """
    if not getattr(module._cli_impl, "_autoinstrument", False):
        module._cli_impl = _parsing(module._cli_impl)
        module._calling.callable_with_args = _filling(module._calling.callable_with_args)


def _parsing(original: Any) -> Any:
    @functools.wraps(original)
    def parse(*given: Any, **named: Any) -> Any:
        is_own = is_command_line(named.get("args"))
        outer = list(_filled), list(_values)  # a constructor may call `tyro.cli`
        _filled[:] = _values[:] = []
        try:
            with users_call:
                result = original(*given, **named)
            if is_own and _filled:
                with contextlib.suppress(Exception):  # whatever the user's values raise when they are shown
                    take(_read(_filled, _values[0]), anew=True)
            return result
        finally:
            _filled[:], _values[:] = outer

    parse._autoinstrument = True  # type: ignore[attr-defined]
    return parse


def _filling(original: Any) -> Any:
    @functools.wraps(original)
    def fill(f: Any, definition: Any, default: Any, values: Any, *more: Any, **named: Any) -> Any:
        _filled.append(definition)
        _values.append(values)
        with users_call:
            return original(f, definition, default, values, *more, **named)

    return fill


def _read(definitions: list[Any], values: dict[str, Any]) -> Iterator[Argument | None]:
    given = {_dashed(name): value for name, value in values.items() if _is_command(name) and isinstance(value, str)}
    order = list(given)
    are_last = any("ConsolidateSubcommandArgs" in str(mark) for mark in getattr(definitions[0], "markers", ()))
    for definition in definitions:
        for group in definition.subparsers_from_intern_prefix.values():
            name = _dashed(f"{group.intern_prefix}{_OF_COMMAND}")
            chosen = _as_typed(given[name]) if name in given else group.default_name
            level = order.index(name) if name in given else len(given)
            yield argument(
                _plain(group.intern_prefix) or "command", chosen, options={"": 1}, form="command", level=level
            )
        for parsed in definition.args:
            level = len(given) if are_last else _level(_dashed(parsed.intern_prefix), order)
            yield _argument(parsed, values, level)


def _is_command(name: Any) -> bool:
    return isinstance(name, str) and name.endswith(_OF_COMMAND)


def _as_typed(command: str) -> str:
    """Return a sub-command as the command line has it; tyro reads underscores and dashes alike."""
    return next((word for word in argv()[1:] if _dashed(word) == _dashed(command)), command)


def _level(prefix: str, given: list[str]) -> int:
    """Return the level of the sub-command that a parser belongs to."""
    level = 0
    for number, name in enumerate(given, start=1):
        if f"{prefix}.".startswith(f"{name.removesuffix(_OF_COMMAND)}."):
            level = number
    return level


def _dashed(name: str) -> str:
    """Return a name in one spelling; tyro has some with dashes and others with underscores."""
    return name.replace("_", "-")


def _plain(name: str) -> str:
    """Return a name as Python has it, "" for the program itself."""
    return ".".join(part for part in name.replace("-", "_").split(".") if part not in ("", _UNNAMED))


def _argument(parsed: Any, values: dict[str, Any], level: int) -> Argument | None:
    lowered, field = parsed.lowered, parsed.field
    names = list(getattr(lowered, "name_or_flags", ()))
    if not names:  # up to 0.9
        names = [lowered.name_or_flag, *(getattr(field.argconf, "aliases", None) or ())]
    name = _plain(f"{parsed.intern_prefix}.{field.intern_name}") or "value"
    if lowered.instance_from_str is None:  # the program has set it
        return argument(name, field.default, options={}, default=field.default)
    default = _value(parsed, _default(parsed))
    value = values.get(lowered.dest or names[-1])
    value = default if value is None or _is_missing(value) else _value(parsed, value)
    if lowered.action == "append":
        value = [*(default or ()), *value] if value is not default else value
    return argument(name, value, default=default, level=level, **_written(lowered, names))


def _is_missing(value: Any) -> bool:
    return "Missing" in type(value).__name__


def _default(parsed: Any) -> Any:
    """Return the words that give an argument its default, None if there is none."""
    default, show = parsed.field.default, getattr(parsed.lowered, "str_from_instance", None)
    if default is None or _is_missing(default) or getattr(default, "__name__", "") == "_empty":  # of `inspect`
        return None
    if show is not None:
        return show(default)
    return default if _is_missing(parsed.lowered.default) else parsed.lowered.default


def _value(parsed: Any, words: Any) -> Any:
    """Return the value that words give; a number if the field is one."""
    if isinstance(words, str):  # a positional argument that may be missing
        words = [words]
    if not isinstance(words, (list, tuple)):  # None, or of a flag or a counter
        return words
    if parsed.lowered.action == "append":
        return [word if isinstance(word, str) else word[0] if len(word) == 1 else list(word) for word in words]
    if parsed.lowered.nargs not in (None, 1, "?") or len(words) != 1:
        return [_number(word) for word in words]
    kind = getattr(parsed.field, "type_stripped", None)
    return kind(words[0]) if kind in (int, float) else words[0]


def _number(word: Any) -> Any:
    """Return a word as a number, if the number is written like it."""
    for kind in (int, float):
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            if str(kind(word)) == word:
                return kind(word)
    return word


def _written(lowered: Any, names: list[str]) -> dict[str, Any]:
    if not names[0].startswith("-"):
        size = {"*": MANY, "?": MAYBE, None: 1}.get(lowered.nargs, lowered.nargs)
        return {"options": {"": size}, "form": "value" if size in (1, MAYBE) else "list"}
    spellings = [spelling for name in names for spelling in _spellings(name)]
    action = lowered.action if isinstance(lowered.action, str) else getattr(lowered.action, "__name__", None)
    long = next((name for name in names if name.startswith("--")), names[0])
    if action in ("boolean_optional_action", "BooleanOptionalAction"):
        above, dot, last = long[2:].rpartition(".")
        off = f"--{above}{dot}no{'_' if '_' in last else '-'}{last}"
        options = dict.fromkeys([*spellings, *_spellings(off)], 0)
        return {"options": options, "form": "flag", "flags": {"True": long, "False": off}}
    if action in ("store_true", "store_false"):
        value = str(action == "store_true")
        return {"options": dict.fromkeys(spellings, 0), "form": "flag", "flags": {value: long}}
    if action == "count":
        return {"options": dict.fromkeys(spellings, 0), "form": "count"}
    size = MANY if lowered.nargs == "*" else lowered.nargs or 1
    form = "repeated" if action == "append" else "value" if size == 1 else "list"
    return {"options": dict.fromkeys(spellings, size), "form": form}


def _spellings(name: str) -> list[str]:
    """Return an option with dashes and with underscores, its own spelling first."""
    if not name.startswith("--"):
        return [name]
    return list(dict.fromkeys([name, f"--{name[2:].replace('_', '-')}", f"--{name[2:].replace('-', '_')}"]))
