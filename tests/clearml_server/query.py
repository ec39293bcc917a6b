"""Filters, order, pages and projections of the get_all calls (07a, and 05 for the refusals)."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .envelope import Doc, bad_request
from .state import State, new_id

_DEFAULT_PAGE = 500
_VALUES = ("id", "project", "status", "type", "parent", "user", "task", "uri", "framework")
_TIMES = ("created", "started", "completed", "last_update", "last_change", "status_changed")
_COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
# Known fields: None for plain values, "*" for dictionaries with any key, a set for objects with fixed fields.
Fields = Mapping[str, "set[str] | str | None"]


def plain(names: str) -> dict[str, None]:
    """Fields with plain values, from their names in one string."""
    return dict.fromkeys(names.split())


def select(documents: Iterable[Doc], query: Doc, fields: Fields) -> list[Doc]:
    """The documents that match, ordered and cut to the page asked for; 400/12, 400/14 and 400/21 as recorded."""
    for key in _VALUES:
        _strings(key, query.get(key))
    found = list(documents)
    for passes in _filters(query):
        found = [document for document in found if passes(document)]
    for key in reversed(_as_list(query.get("order_by"))):
        name = key.lstrip("-+")
        resolve(name, fields)
        found.sort(key=lambda document: _sort_key(document, name), reverse=key.startswith("-"))
    size = query.get("page_size")
    if size is not None and size < 1:
        raise bad_request(12, "Validation error (page_size must be >0)", field="page_size")
    page = query.get("page") or 0
    size = size or _DEFAULT_PAGE
    return found[page * size : (page + 1) * size]


def scroll(state: State, found: list[Doc], query: Doc) -> tuple[list[Doc], str | None]:
    """`scroll_id` + `size`: the next part of a result, and the id to go on with."""
    if "scroll_id" not in query and "size" not in query:
        return found, None
    scroll_id = query.get("scroll_id")
    left = state.scrolls.get(str(scroll_id), found) if scroll_id else found
    size = query.get("size") or _DEFAULT_PAGE
    scroll_id = str(scroll_id or new_id())
    state.scrolls[scroll_id] = left[size:]
    return left[:size], scroll_id


def _filters(query: Doc) -> Iterator[Callable[[Doc], bool]]:
    """Yield one condition for each filter that a query has, those that leave the fewest documents first."""
    for key in _VALUES:
        wanted = query.get(key)
        if wanted not in (None, []):
            yield _one_of(key, _strings(key, wanted))
    for key in query:
        if key.startswith(("hyperparams.", "metadata.")) and query[key]:
            yield _at_path(key, _strings(key, query[key]))
    pattern = query.get("name")
    if pattern is not None:
        yield lambda document: search(pattern, document.get("name", ""))
    for key in ("tags", "system_tags"):
        if query.get(key):
            yield _with_tags(key, _as_list(query[key]))
    if query.get("ready") is not None:
        yield lambda document: bool(document.get("ready")) == bool(query["ready"])
    if query.get("_all_") or query.get("_any_"):
        yield lambda document: _patterns_match(document, query)
    if "_or_" in query or any(query.get(key) for key in _TIMES):
        yield lambda document: _times_match(document, query)
    if any(key == "last_iteration" or key.startswith("last_metrics.") for key in query):
        yield lambda document: _ranges_match(document, query)


def _one_of(key: str, wanted: list[str]) -> Callable[[Doc], bool]:
    """Values that begin with `-` are excluded; without others, all else matches."""
    excluded = {item[1:] for item in wanted if item and item.startswith("-")}
    included = {item for item in wanted if not (item and item.startswith("-"))}
    return lambda document: document.get(key) not in excluded and (not included or document.get(key) in included)


def _at_path(path: str, wanted: list[str]) -> Callable[[Doc], bool]:
    values = set(wanted)

    def passes(document: Doc) -> bool:
        value = _nested(document, path)
        return isinstance(value, str) and value in values

    return passes


def _nested(document: Doc, path: str) -> Any:
    """The value at `hyperparams.SECTION.NAME.value`; such paths, and those of metadata, are list fields of a query."""
    value: Any = document
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def search(pattern: str, text: str) -> bool:
    """A name filter is a regular expression in Python's syntax, case-sensitive, found anywhere in the name."""
    try:
        return re.search(pattern, text) is not None
    except re.error as error:
        raise bad_request(21, "Malformed regular expression", err=error, extra_info=None) from None


def project_fields(document: Doc, only_fields: Any, fields: Fields) -> Doc:
    """Cut a document to `only_fields`; nothing else is added, not even `id`."""
    paths = _as_list(only_fields)
    if not paths:
        return document
    cut: Doc = {}
    for path in paths:
        resolve(path, fields)
        name, _, rest = path.partition(".")
        if name not in document:
            continue
        if not rest:
            cut[name] = document[name]
        else:
            _copy_nested(document[name], cut.setdefault(name, {}), rest)
    return cut


def _copy_nested(source: Any, target: Doc, path: str) -> None:
    name, _, rest = path.partition(".")
    if not isinstance(source, dict):
        return
    if path in source:  # keys may contain dots
        target[path] = source[path]
    elif name in source:
        if rest:
            _copy_nested(source[name], target.setdefault(name, {}), rest)
        else:
            target[name] = source[name]


def resolve(path: str, fields: Fields) -> None:
    """Raise 400/14 for a field that the object does not have."""
    name, _, rest = path.partition(".")
    if name not in fields:
        raise _unknown_field(name)
    inner = fields[name]
    if rest and inner != "*" and (inner is None or rest.split(".")[0] not in inner):
        raise _unknown_field(rest.split(".")[0])


def _unknown_field(name: str) -> Exception:
    text = "Lookup error (probably an invalid field name or unsupported nested field)"
    return bad_request(14, text, err=f'Cannot resolve field "{name}"')


def _strings(key: str, wanted: Any) -> list[str]:
    values = wanted if isinstance(wanted, list) else [wanted]
    for value in values:
        if value is not None and not isinstance(value, str):
            reason = "Invalid value for fields (invalid value type, string expected)"
            raise bad_request(16, reason, field=key, value=value)
    return values


def _with_tags(key: str, wanted: list[str]) -> Callable[[Doc], bool]:
    """`-x` excludes; after `__$all` or `__$and` every tag is needed, otherwise one of them."""
    everything, negated, included, excluded = False, False, list[str](), list[str]()
    for item in wanted:
        if item in ("__$all", "__$and"):
            everything = True
        elif item in ("__$any", "__$or"):
            everything = False
        elif item == "__$not":
            negated = True
            continue
        elif item.startswith("-") or negated:
            excluded.append(item.removeprefix("-"))
        else:
            included.append(item)
        negated = False
    needed = all if everything else any

    def passes(document: Doc) -> bool:
        tags = document.get(key) or []
        return not any(tag in tags for tag in excluded) and (not included or needed(tag in tags for tag in included))

    return passes


def _patterns_match(document: Doc, query: Doc) -> bool:
    for key, needed in (("_all_", all), ("_any_", any)):
        wanted = query.get(key)
        if wanted and not needed(
            search(wanted["pattern"], str(_nested(document, name) or "")) for name in wanted.get("fields", [])
        ):
            return False
    return True


def _times_match(document: Doc, query: Doc) -> bool:
    """Filters like `"last_update": [">=2026-01-01T00:00:00"]`, and `_or_` for any of several fields (SDK 2.1)."""
    for key in _TIMES:
        if not _is_in_time(document, key, query.get(key)):
            return False
    either = query.get("_or_") or {}
    fields = either.get("fields") or []
    return not fields or any(_is_in_time(document, key, either.get("datetime")) for key in fields)


def _ranges_match(document: Doc, query: Doc) -> bool:
    """`"last_metrics.….max_value": [least, most]`, either may be null (the server's source, `get_range_field_query`).

    A document without the value matches only if there is no least one.
    """
    for key, wanted in query.items():
        if not (key.startswith("last_metrics.") or key == "last_iteration") or wanted is None:
            continue
        if not isinstance(wanted, list) or len(wanted) != 2:
            raise bad_request(12, f"Validation error (Min and max values should be specified for range field {key})")
        (least, most), value = wanted, _nested(document, key)
        if value is None:
            if least is not None:
                return False
        elif (least is not None and value < least) or (most is not None and value > most):
            return False
    return True


def _is_in_time(document: Doc, key: str, conditions: Any) -> bool:
    """Texts in ISO 8601 compare as texts."""
    for condition in _as_list(conditions):
        for sign, compare in _COMPARE.items():
            if str(condition).startswith(sign):
                wanted = str(condition)[len(sign) :].strip()
                if not compare(str(document.get(key, ""))[: len(wanted)], wanted):
                    return False
                break
    return True


def _sort_key(document: Doc, path: str) -> tuple[int, Any]:
    value: Any = document
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if value is None:
        return (0, "")
    return (1, value) if isinstance(value, (int, float)) else (2, str(value))


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
