"""Learn how absl understands the command line; seen in absl-py 0.15 to 2.5."""

from __future__ import annotations

import contextlib
import functools

from autoinstrument.integrations.parsed_arguments import argument, argv, take
from autoinstrument.tracebacks import users_call

TYPE_CHECKING = False  # type checkers take it for typing's
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from autoinstrument.records import Argument


def watch(module: Any) -> None:
    """Remember from now on what flags read from the command line.

    Args:
        module: `absl.flags._flagvalues`; `FlagValues.__call__` is replaced by a plain function with the same result.
    """
    owner = module.FlagValues
    if getattr(owner.__call__, "_autoinstrument", False):
        return
    original = owner.__call__

    @functools.wraps(original)
    def parse(self: Any, arguments: Any, known_only: bool = False) -> Any:
        is_own = list(arguments) == argv()
        with users_call:
            result = original(self, arguments, known_only)
        if is_own:
            with contextlib.suppress(Exception):  # whatever the user's values raise when they are shown
                take(_read(self), anew=True, help_texts={name: flag.help for name, flag in self._flags().items()})
        return result

    parse._autoinstrument = True  # type: ignore[attr-defined]
    owner.__call__ = parse


def _read(values: Any) -> Iterator[Argument | None]:
    """Yield the flags of the program's modules, and those of absl's own that were given."""
    for module, flags in values.flags_by_module_dict().items():
        for flag in flags:
            if flag.present or not str(module).startswith("absl."):
                yield argument(
                    flag.name, _plain(flag, flag.value), default=_plain(flag, flag.default), **_written(flag)
                )


def _plain(flag: Any, value: Any) -> Any:
    """Return a value as its flag takes it: items of a list flag are joined, and a member of an enumeration is named."""
    serializer = flag.serializer
    if value is None or flag.boolean or not type(serializer).__module__.startswith("absl."):
        return value
    if _is_multi(flag) or type(serializer).__name__ == "ArgumentSerializer":
        return value
    return serializer.serialize(value)


def _is_multi(flag: Any) -> bool:
    return any(kind.__name__ == "MultiFlag" for kind in type(flag).__mro__)


def _written(flag: Any) -> dict[str, Any]:
    names = [flag.name, *([flag.short_name] if flag.short_name else [])]
    if flag.boolean:
        spellings = {f"{dashes}{no}{name}": 0 for name in names for no in ("", "no") for dashes in ("--", "-")}
        return {
            "options": spellings,
            "form": "flag",
            "flags": {"True": f"--{flag.name}", "False": f"--no{flag.name}"},
        }
    spellings = {f"{dashes}{name}": 1 for name in names for dashes in ("--", "-")}
    return {"options": spellings, "form": "repeated" if _is_multi(flag) else "value"}
