"""Wrapped functions look, copy and pickle as the plain ones do."""

from __future__ import annotations

import copy
import inspect
import pickle
import types
from collections.abc import Callable
from typing import Any

import pytest

from autoinstrument.integrations.wrapping import Reference, wrap, wrap_methods


def function(a: int, b: int = 2) -> int:
    """Add."""
    return a + b


class Client:
    def __init__(self, base: int) -> None:
        self.base = base

    def add(self, a: int) -> int:
        return self.base + a


calls: list[tuple[Any, ...]] = []


def around(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    calls.append((wrapped.__name__, args, kwargs))
    return wrapped(*args, **kwargs)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """This module, its function and its class wrapped for one test."""
    import sys

    this = sys.modules[__name__]
    monkeypatch.setattr(this, "function", function)
    monkeypatch.setattr(Client, "add", vars(Client)["add"])
    calls.clear()
    assert wrap(this, "function", around)
    wrap_methods(this, "Client", {"add": around, "no_such_method": around})
    return this


def test_calls_go_through_the_wrapper(module: types.ModuleType) -> None:
    assert module.function(1, b=3) == 4
    assert module.Client(1).add(2) == 3
    assert module.Client.add(module.Client(1), a=2) == 3
    assert calls == [("function", (1,), {"b": 3}), ("add", (2,), {}), ("add", (), {"a": 2})]


def test_name_signature_and_documentation_are_the_functions(module: types.ModuleType) -> None:
    assert (module.function.__name__, module.function.__doc__) == ("function", "Add.")
    assert str(inspect.signature(module.function)) == "(a: 'int', b: 'int' = 2) -> 'int'"
    assert inspect.isfunction(module.function)


def test_a_second_wrapping_changes_nothing(module: types.ModuleType) -> None:
    before = module.function
    assert wrap(module, "function", around)
    assert module.function is before


def test_missing_functions_are_not_added(module: types.ModuleType) -> None:
    assert not wrap(module, "no_such_function", around)
    assert not hasattr(module.Client, "no_such_method")
    with pytest.raises(LookupError, match="has no class Gone"):
        wrap_methods(module, "Gone", {})


def test_copies_are_the_same_function(module: types.ModuleType) -> None:
    assert copy.copy(module.function) is copy.deepcopy(module.function) is module.function
    client = module.Client(1)
    copied = copy.deepcopy({"call": client.add})["call"]
    client.base = 10
    assert copied(1) == 2, "a bound method is copied with its object, as Python does it"


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_hold_a_name(module: types.ModuleType, protocol: int) -> None:
    data = pickle.dumps(module.Client.add, protocol)
    assert b"wrapt" not in data
    assert b"autoinstrument" not in data
    assert pickle.loads(data) is module.Client.add
    assert isinstance(module.Client.add, Reference)
    assert pickle.loads(pickle.dumps(module.Client(1).add, protocol))(2) == 3
