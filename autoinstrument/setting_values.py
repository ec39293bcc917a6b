"""Kinds of values of the `AUTOINSTRUMENT_*` environment variables: how each is read from text, and written."""

from __future__ import annotations

import math
import string
from typing import Generic, TypeVar

from autoinstrument import experiment_patterns
from autoinstrument.switch import OFF, ON, is_on

_T = TypeVar("_T")


class Values(Generic[_T]):
    """The values that a setting may have."""

    allowed = ""
    """The allowed values, for a person; "" if every text is allowed."""

    def parse(self, text: str) -> _T:
        """Return the value of a variable's text, which is not empty.

        Raises:
            ValueError: the text is not allowed.
        """
        raise NotImplementedError

    def text(self, value: _T) -> str:
        """Return the text from which `parse` makes this value."""
        return str(value)


class Text(Values[str]):
    """Any text."""

    def parse(self, text: str) -> str:
        return text


class Choice(Values[str]):
    """One of several words, in upper or lower case."""

    def __init__(self, *words: str) -> None:
        self._words = words
        self.allowed = "one of " + ", ".join(words)

    def parse(self, text: str) -> str:
        if text.lower() not in self._words:
            raise ValueError(text)
        return text.lower()


class Address(Values[str]):
    """Base address of a web server, without the slash at its end."""

    allowed = "an http:// or https:// address"

    def parse(self, text: str) -> str:
        scheme, _, place = text.partition("://")
        if scheme not in ("http", "https") or not place.strip("/"):
            raise ValueError(text)
        return text.rstrip("/")


class Template(Values[str]):
    """Text with named fields in braces."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self.allowed = "a template over " + " ".join(f"{{{name}}}" for name in names)

    def parse(self, text: str) -> str:
        for _, name, spec, conversion in string.Formatter().parse(text):
            if name is not None and (name not in self._names or spec or conversion):
                raise ValueError(text)
        return text


class Patterns(Values[tuple[str, ...]]):
    """Glob patterns, separated by commas."""

    allowed = "glob patterns, separated by commas; one that begins with ! excludes"

    def parse(self, text: str) -> tuple[str, ...]:
        return experiment_patterns.parse(text)

    def text(self, value: tuple[str, ...]) -> str:
        return ",".join(value)


class TagTemplates(Values[tuple[str, ...]]):
    """Words or templates over any names, separated by commas."""

    allowed = "tags, separated by commas; {NAME} stands for a tag or parameter of the run"

    def parse(self, text: str) -> tuple[str, ...]:
        templates = tuple(template for part in text.split(",") if (template := part.strip()))
        for template in templates:
            for _, name, spec, conversion in string.Formatter().parse(template):
                if name is not None and (not name.strip() or spec or conversion):
                    raise ValueError(text)
        return templates

    def text(self, value: tuple[str, ...]) -> str:
        return ",".join(value)


class Words(Values[tuple[str, ...]]):
    """Words, separated by commas."""

    allowed = "words, separated by commas"

    def parse(self, text: str) -> tuple[str, ...]:
        return tuple(word for part in text.split(",") if (word := part.strip()))

    def text(self, value: tuple[str, ...]) -> str:
        return ",".join(value)


class Switch(Values[bool]):
    """On or off."""

    allowed = "one of " + ", ".join((*ON, *OFF))

    def parse(self, text: str) -> bool:
        if text.lower() not in (*ON, *OFF):
            raise ValueError(text)
        return is_on(text)

    def text(self, value: bool) -> str:
        return "on" if value else "off"


class Seconds(Values[float]):
    """Number of seconds."""

    allowed = "a number of seconds from 0 to 3600"

    def parse(self, text: str) -> float:
        seconds = float(text)
        if not 0 <= seconds <= 3600:  # also if it is not a number, "nan"
            raise ValueError(text)
        return seconds

    def text(self, value: float) -> str:
        return str(value).removesuffix(".0")


class Silence(Values[float]):
    """Seconds after which a silent process counts as dead; infinity is never."""

    allowed = "off, or a number of seconds from 5 to 86400"

    def parse(self, text: str) -> float:
        if text.lower() in OFF:
            return math.inf
        seconds = float(text)
        if not 5 <= seconds <= 86400:  # also if it is not a number, "nan"
            raise ValueError(text)
        return seconds

    def text(self, value: float) -> str:
        return "off" if value == math.inf else str(value).removesuffix(".0")


class Period(Values[float]):
    """Seconds between two readings; 0.0 is off."""

    allowed = "on, off, or seconds between readings from 1 to 3600"

    def parse(self, text: str) -> float:
        if text.lower() in (*ON, *OFF):
            return float(is_on(text))
        seconds = float(text)
        if not 1 <= seconds <= 3600:  # also if it is not a number, "nan"
            raise ValueError(text)
        return seconds

    def text(self, value: float) -> str:
        return {0.0: "off", 1.0: "on"}.get(value) or str(value).removesuffix(".0")
