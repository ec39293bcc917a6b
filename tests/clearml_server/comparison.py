"""Deep comparison of a recorded answer with one of the double, except for ids, times, tokens and cut texts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from .recording import ID, restored
from .state import State

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.(\d{3,6})(Z|\+00:00)")
# Cut before comparing: text of the storage engines, which the README calls indicative only.
_ENGINE_TEXT = re.compile(r"(extra_info=|err=Tried to save duplicate unique keys \().*", re.DOTALL)
_DURATIONS = {"active_duration", "running_time", "last_timestamp"}
Problem = str


class Comparison:
    """Knows which recorded id is which of the double's, and learns more with each answer."""

    def __init__(self, state: State, sent: str) -> None:
        self._state = state
        self._sent = sent  # all requests as one text: a number that occurs nowhere in it was made by the server
        self.ids: dict[str, str] = {}

    def translate(self, value: Any) -> Any:
        """A recorded value with the double's ids and the state's values for placeholders."""
        if isinstance(value, dict):
            return {self.translate(key): self.translate(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.translate(item) for item in value]
        if not isinstance(value, str):
            return value
        text = ID.sub(lambda match: self.ids.get(match[0], match[0]), value)
        for name, own in (
            ("<COMPANY_ID>", self._state.company),
            ("<USER_ID>", self._state.user),
            ("<USER_NAME>", self._state.user_name),
            ("<SCROLL_ID>", self.ids.get("<SCROLL_ID>", "")),
        ):
            text = text.replace(name, own)
        return text

    def differences(self, expected: Any, actual: Any, path: str = "") -> Iterator[Problem]:
        """Where `actual` differs from the recorded value; new ids are learnt only where nothing differs before."""
        expected = restored(expected)
        if isinstance(expected, dict) and isinstance(actual, dict):
            yield from self._objects(expected, actual, path)
        elif isinstance(expected, list) and isinstance(actual, list):
            yield from self._lists(expected, actual, path)
        elif isinstance(expected, str) and isinstance(actual, str):
            if not self._texts(expected, actual, path):
                yield f"{path}: {expected!r} recorded, {actual!r} answered"
        elif not self._plain(expected, actual, path):
            yield f"{path}: {expected!r} recorded, {actual!r} answered"

    def _objects(self, expected: dict[str, Any], actual: dict[str, Any], path: str) -> Iterator[Problem]:
        if "note" in expected:
            return
        translated = {self.translate(key): value for key, value in expected.items()}
        for key in translated.keys() - actual.keys():
            yield f"{path}.{key}: missing ({translated[key]!r} recorded)"
        for key in actual.keys() - translated.keys():
            yield f"{path}.{key}: too much ({actual[key]!r})"
        for key in translated.keys() & actual.keys():
            yield from self.differences(translated[key], actual[key], f"{path}.{key}")

    def _lists(self, expected: list[Any], actual: list[Any], path: str) -> Iterator[Problem]:
        """Compare in order, or else in any order: an order that was not asked for is only indicative."""
        cuts = [place for place, item in enumerate(expected) if isinstance(item, str) and item.startswith("…(")]
        if cuts:
            tail = len(expected) - cuts[0] - 1
            actual = actual[: cuts[0]] + (actual[len(actual) - tail :] if tail else [])
            expected = expected[: cuts[0]] + expected[cuts[0] + 1 :]
        if len(expected) != len(actual):
            yield f"{path}: {len(expected)} items recorded, {len(actual)} answered ({actual})"
            return
        if not any(isinstance(item, dict) for item in expected):
            for place, pair in enumerate(zip(expected, actual, strict=True)):
                yield from self.differences(*pair, f"{path}[{place}]")
            return
        left = list(actual)
        for place, item in enumerate(expected):
            match = next((other for other in left if self._equal(item, other)), None)
            if match is None:
                yield from self.differences(item, left[0], f"{path}[{place}]")
                return
            left.remove(match)

    def _equal(self, expected: Any, actual: Any) -> bool:
        before = dict(self.ids)
        equal = not any(self.differences(expected, actual))
        if not equal:
            self.ids = before
        return equal

    def _texts(self, expected: str, actual: str, path: str) -> bool:
        if expected in ("<TOKEN>", "<SCROLL_ID>", "<IP>"):
            self.ids[expected] = actual
            return bool(actual)
        known = self.translate(expected)
        if known == actual:
            return True
        times = _TIME.fullmatch(expected), _TIME.fullmatch(actual)
        if times[0] and times[1]:
            # Stored times are cut to milliseconds, those in `fields` are not.
            return len(times[0][1]) == len(times[1][1]) and (
                ".fields." in path or not times[0][1].endswith("000") or times[1][1].endswith("000")
            )
        if _ENGINE_TEXT.search(known):
            return _ENGINE_TEXT.sub(r"\1", known) == _ENGINE_TEXT.sub(r"\1", actual)
        if "…(" in expected:
            return actual.startswith(known.partition("…(")[0])
        return self._learnt(expected, actual)

    def _learnt(self, expected: str, actual: str) -> bool:
        """Return True if the values are equal, up to new ids, which name the same object from now on."""
        pairs = list(zip(ID.findall(expected), ID.findall(actual), strict=False))
        if not pairs or ID.sub("", self.translate(expected)) != ID.sub("", actual):
            return False
        for recorded, own in pairs:
            if self.ids.get(recorded, own) != own or (recorded not in self.ids and own in self.ids.values()):
                return False
        self.ids.update(pairs)
        return True

    def _plain(self, expected: Any, actual: Any, path: str) -> bool:
        if isinstance(expected, bool) or isinstance(actual, bool) or expected is None or actual is None:
            return expected is actual
        if not all(isinstance(value, (int, float)) for value in (expected, actual)):
            return False
        if path.rpartition(".")[2] in _DURATIONS:
            return True
        if expected > 1e12 and str(expected) not in self._sent and path.endswith(("timestamp", "last_update")):
            return bool(actual > 1e12)
        return math.isclose(expected, actual, rel_tol=1e-7)


Tolerated = Callable[[Problem], bool]
