"""Wrapped functions that can be pickled and copied: by reference, as the plain function would be.

A plain wrapt wrapper can be neither pickled, by pickle or cloudpickle, nor copied (wrapt 1.15 to 2.5), so that handing
`mlflow.log_metric` or a bound client method to joblib, Ray or Spark would fail. These are pickled as a name, and a
process without the agent gets MLflow's own function.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from functools import reduce
from types import ModuleType
from typing import Any

import wrapt

Around = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]
"""wrapt's wrapper function: (wrapped, instance, args, kwargs) -> result."""


class _BoundReference(wrapt.BoundFunctionWrapper):  # type: ignore[misc]
    """What attribute access gives: on an instance its bound method, on the class the function."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        owner = self._self_instance
        if owner is None:
            owner = reduce(getattr, self.__qualname__.split(".")[:-1], sys.modules[self.__module__])
        return getattr, (owner, self.__name__)

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        owner = self._self_instance  # a bound method's copy is bound to a copy, as the standard library has it
        return self if owner is None else getattr(copy.deepcopy(owner, memo), self.__name__)


class Reference(wrapt.FunctionWrapper):  # type: ignore[misc]
    """A function wrapper that pickles by its qualified name."""

    __bound_function_wrapper__ = _BoundReference

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__qualname__

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self


def wrap(owner: ModuleType | type, name: str, around: Around) -> bool:
    """Replace the function `name` of a module or class by a wrapper; once, and only where there is such a function.

    Returns:
        False where the owner has no function of that name (another version of MLflow).
    """
    original = vars(owner).get(name)
    if original is None or not callable(original):
        return False
    if not isinstance(original, Reference):
        setattr(owner, name, Reference(original, around))
    return True
