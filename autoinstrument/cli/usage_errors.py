"""Report a bad setting as wrong usage: one line on stderr, exit code 2."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

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
