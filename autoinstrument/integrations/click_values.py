"""Learn how click, and typer with its own copy of click, understand the command line.

Seen in click 8.0 to 8.5 and typer 0.9 to 0.29. A command is parsed where its context is made: first that of the
program, then, inside of it, those of its sub-commands.
"""

from __future__ import annotations

import functools

from autoinstrument.integrations.parsed_arguments import MANY, argument, is_command_line, take
from autoinstrument.tracebacks import users_call

TYPE_CHECKING = False  # type checkers take it for typing's
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from autoinstrument.records import Argument

_contexts: list[Any] = []
"""The contexts of the command line's commands, the program's own first."""


def watch(core: Any) -> None:
    """Remember from now on what commands read from the command line.

    Args:
        core: the module `click.core`. `make_context` is replaced by a plain function that gives back the same context.
    """
    owner = vars(core).get("BaseCommand")  # up to click 8.1; a subclass of `Command` that warns in 8.2
    if not isinstance(owner, type) or "make_context" not in vars(owner):
        owner = core.Command
    if not getattr(owner.make_context, "_autoinstrument", False):
        owner.make_context = _making(owner.make_context)


def _making(original: Any) -> Any:
    @functools.wraps(original)
    def make_context(self: Any, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        is_own = parent is None and is_command_line(args)  # now: parsing changes the list
        with users_call:
            context = original(self, info_name, args, parent, **extra)
        try:
            if is_own:
                _contexts[:] = [context]
            elif parent in _contexts:
                _contexts.append(context)
            if context in _contexts:
                take(_read(context), anew=is_own, help_texts=_help(context))
        except Exception:  # noqa: S110  (whatever the user's values raise when they are shown, their parsing has succeeded)
            pass
        return context

    make_context._autoinstrument = True  # type: ignore[attr-defined]
    return make_context


def _read(context: Any) -> Iterator[Argument | None]:
    level, prefix = _contexts.index(context), _prefix(context)
    if level:
        of_group = "".join(f"{above.info_name}/" for above in _contexts[1:level])
        yield argument(f"{of_group}command", context.info_name, options={"": 1}, form="command", level=level - 1)
    parameters: dict[str, list[Any]] = {}
    for parameter in context.command.params:
        if parameter.name in context.params:
            parameters.setdefault(parameter.name, []).append(parameter)
    for name, same in parameters.items():
        secret = any(getattr(parameter, "hide_input", False) for parameter in same)
        value = context.params[name]
        default = same[0].default
        if callable(default) or "Sentinel" in type(default).__name__:
            default = None
        yield argument(prefix + name, value, default=default, level=level, secret=secret, **_written(same))


def _prefix(context: Any) -> str:
    """Return the beginning of the names of a command's parameters: those of the program itself have none."""
    return "".join(f"{above.info_name}/" for above in _contexts[1 : _contexts.index(context) + 1])


def _help(context: Any) -> dict[str, Any]:
    prefix = _prefix(context)
    return {f"{prefix}{parameter.name}": getattr(parameter, "help", None) for parameter in context.command.params}


def _written(same: list[Any]) -> dict[str, Any]:
    """Return how a command line gives the parameters of one name: several are flags, each with its own value."""
    options: dict[str, int] = {}
    flags: dict[str, str] = {}
    for parameter in same:
        if parameter.param_type_name == "argument":
            return {
                "options": {"": MANY if parameter.nargs < 0 else parameter.nargs},
                "form": "value" if parameter.nargs == 1 else "list",
            }
        off = list(parameter.secondary_opts)
        no_word = parameter.count or parameter.is_flag
        options.update(dict.fromkeys([*parameter.opts, *off], 0 if no_word else parameter.nargs))
        if parameter.is_flag and not parameter.count:
            # Newer releases (8.3 to 8.5) do not show the value of a flag that is True or False; typer's copy has none.
            value = getattr(parameter, "flag_value", True)
            if getattr(parameter, "is_bool_flag", True) and not isinstance(value, bool):
                value = True
            flags[str(value)] = _long(parameter.opts)
            if off:
                flags["False"] = _long(off)
    first = same[0]
    if flags:
        return {"options": options, "form": "flag", "flags": flags}
    if first.count:
        return {"options": options, "form": "count"}
    if first.multiple:
        return {"options": options, "form": "repeated"}
    return {"options": options, "form": "list" if first.nargs != 1 else "value"}


def _long(spellings: list[str]) -> str:
    return next((spelling for spelling in spellings if spelling.startswith("--")), spellings[0])
