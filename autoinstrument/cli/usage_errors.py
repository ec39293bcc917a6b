"""Report bad settings and options as wrong usage: one line on stderr, exit code 2."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import click

from autoinstrument.settings import SettingsError

_P = ParamSpec("_P")
_T = TypeVar("_T")


def reports_bad_settings(command: Callable[_P, _T]) -> Callable[_P, _T]:
    """Decorate a command that reads the settings, below `click.command` and its options."""

    @functools.wraps(command)
    def reporting(*arguments: _P.args, **options: _P.kwargs) -> _T:
        try:
            return command(*arguments, **options)
        except SettingsError as error:
            raise click.UsageError(str(error)) from None

    return reporting


class Seconds(click.FloatRange):
    """A number of seconds within limits. click's range takes "nan" (8.1 to 8.5), which no limit refuses."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.ParamType.convert`."""
        seconds = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value} is not a number of seconds", param, ctx)
        return seconds
