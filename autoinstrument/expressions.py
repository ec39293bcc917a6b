"""Regular expressions that are compiled when they are first used: a process uses few of those in its modules."""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast


class _Expression:
    def __init__(self, text: str | bytes, flags: int) -> None:
        self._given: tuple[Any, int] = text, flags

    def __getattr__(self, name: str) -> Any:
        found = getattr(re.compile(*self._given), name)
        setattr(self, name, found)  # from now on it is found without this method
        return found


def expression(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Return what has the methods of `re.compile(text, flags)`, and compiles it when the first one is asked for."""
    return cast("re.Pattern[AnyStr]", _Expression(text, flags))
