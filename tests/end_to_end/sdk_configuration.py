"""Parse the configuration files in clearml's package once: they are 0.4 to 0.6 s of the CPU time of a first login.

Standard library only: the fork server imports it in the scripts' environment.
"""

from __future__ import annotations

import contextlib
import copy
import re
import sys
from pathlib import Path
from typing import Any


def parse_texts_once() -> None:
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


def parse_package() -> None:
    """Parse all files of the package now, for the forks of this process."""
    from clearml.utilities.pyhocon import ConfigFactory

    parse_texts_once()
    for file in Path(sys.modules["clearml"].__file__ or "").parent.rglob("*.conf"):
        with contextlib.suppress(Exception):  # one that is a template
            ConfigFactory.parse_file(str(file))
