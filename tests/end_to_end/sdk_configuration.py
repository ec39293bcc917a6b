"""Make the first login of ClearML's SDK cheap: the configuration in its package is 0.4 to 0.6 s of its CPU time.

Standard library only: the fork server imports it in the scripts' environment.
"""

from __future__ import annotations

import contextlib
import copy
import re
import sys
import types
from pathlib import Path
from typing import Any


def make_logins_cheap() -> None:
    """Do what is below for the modules of clearml that are loaded by now."""
    _parse_texts_once()
    _name_loggers_quickly()


def _parse_texts_once() -> None:
    """Keep what clearml makes of a text, once its parser is loaded (clearml 1.16 to 2.1, pyhocon)."""
    factory = getattr(sys.modules.get("clearml.utilities.pyhocon.config_parser"), "ConfigFactory", None)
    if factory is None or hasattr(factory, "tests_parsed"):
        return
    parse = factory.parse_string.__func__
    parsed: dict[tuple[Any, ...], Any] = {}

    def parse_string(cls: Any, *args: Any, **kwargs: Any) -> Any:
        key = (args[0], *args[2:], *kwargs.items())
        # Variables of the process, and other files: their folder is args[1].
        if "${" in args[0] or re.search(r"^\s*include\b", args[0], re.M):
            return parse(cls, *args, **kwargs)
        if key not in parsed:
            parsed[key] = parse(cls, *args, **kwargs)
        return copy.deepcopy(parsed[key])

    factory.parse_string = classmethod(parse_string)
    factory.tests_parsed = parsed


def _name_loggers_quickly() -> None:
    """Let clearml find the file that asks for a logger without `inspect.stack` (clearml 1.16 to 2.1).

    A login asks for several, and `inspect.stack` reads the source of each caller: a hundredth of all tests' CPU time.
    """
    log = sys.modules.get("clearml.debugging.log")

    def stack() -> list[Any]:
        get_logger = sys._getframe(1)
        callers = [get_logger, get_logger.f_back or get_logger]
        return [(frame, frame.f_code.co_filename) for frame in callers]

    if log is not None:
        log.inspect = types.SimpleNamespace(stack=stack)  # type: ignore[attr-defined]


def parse_package() -> None:
    """Parse all files of the package now, for the forks of this process."""
    from clearml.utilities.pyhocon import ConfigFactory

    make_logins_cheap()
    for file in Path(sys.modules["clearml"].__file__ or "").parent.rglob("*.conf"):
        with contextlib.suppress(Exception):  # one that is a template
            ConfigFactory.parse_file(str(file))
