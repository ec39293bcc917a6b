"""Read configuration files of the SDK that use little of their language, HOCON, without the SDK's parser.

That one builds its grammar anew for each file, and takes 70 ms of CPU for the SDK's own default files. Here only
objects, lists, quoted strings, unsigned numbers and single words are understood; any other text is left to the SDK.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from autoinstrument.expressions import expression

_TOKEN = expression(
    r"[ \t\r]+|(?:#|(?<![^\s{}\[\],:=])//)[^\n]*"  # a comment; `a//b` is a word
    r'|"(?P<text>[^"\\\n]*)"'
    r"|(?P<number>\d+(?:\.\d+)?)(?![\w.+-])"
    r"|(?P<word>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)"
    r"|(?P<sign>[{}\[\],:=\n])"
    r"|(?P<other>.)",
    re.ASCII,
)
_INCLUDE = "include"
_KEYWORDS = {"true": True, "false": False, "null": None}

_Token = tuple[str, Any]
"""Kind and value: "text", "number", "word", "other", or a sign as its own kind; "" at the end."""


class _NotPlainError(ValueError):
    """The text is more than this module understands."""


def parse(text: str, tree: Callable[..., Any]) -> Any:
    """Return the tree of a text, as the SDK's parser (clearml 1.16 to 2.1.12) makes it; None if the text is not plain.

    Args:
        text: the content of a file.
        tree: the SDK's class of trees.
    """
    try:
        return _Reader(text, tree).whole()
    except Exception:  # of the tree, too: the SDK's parser says what is wrong with the text
        return None


class _Reader:
    def __init__(self, text: str, tree: Callable[..., Any]) -> None:
        self._tokens = _tokens(text)
        self._next: _Token = next(self._tokens)
        self._tree = tree

    def whole(self) -> Any:
        """Return the object that is the whole text."""
        self._pass("\n")
        self._expect("{")
        found = self._members(root=True)
        self._pass("\n")
        self._expect("")
        return found

    def _take(self) -> _Token:
        token, self._next = self._next, next(self._tokens, ("", None))
        return token

    def _expect(self, *kinds: str) -> _Token:
        token = self._take()
        if token[0] not in kinds:
            raise _NotPlainError
        return token

    def _pass(self, signs: str) -> None:
        while self._next[0] and self._next[0] in signs:
            self._take()

    def _members(self, *, root: bool = False) -> Any:
        """Return the tree of an object, behind its opening brace."""
        made = self._tree(root=root)
        self._pass("\n,")
        while self._next[0] != "}":
            kind, key = self._expect("word", "text")
            if self._next[0] != "{":
                self._expect(":", "=")
            value = self._value()
            is_object = isinstance(value, dict)
            key = f'"{key}"' if kind == "text" else key
            if key.lower() == _INCLUDE or (is_object and isinstance(made.get(key, None), list)):
                raise _NotPlainError
            made.put(key, value, is_object)
            self._end_item("}")
        self._take()
        return made

    def _items(self) -> list[Any]:
        """Return a list, behind its opening bracket."""
        items = []
        self._pass("\n,")
        while self._next[0] != "]":
            items.append(self._value())
            self._end_item("]")
        self._take()
        return items

    def _end_item(self, closing: str) -> None:
        if self._next[0] not in ("\n", ",", closing):
            raise _NotPlainError
        self._pass("\n,")

    def _value(self) -> Any:
        kind, value = self._expect("{", "[", "text", "number", "word")
        if kind == "{":
            return self._members()
        if kind == "[":
            return self._items()
        if kind == "word":
            word = value.lower()
            if word == _INCLUDE:
                raise _NotPlainError
            return _KEYWORDS.get(word, value)
        return value


def _tokens(text: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        found = match[kind] if kind else ""
        if kind == "number":
            yield kind, float(found) if "." in found else int(found)
        elif kind:
            yield (found if kind == "sign" else kind), found
    yield "", None
