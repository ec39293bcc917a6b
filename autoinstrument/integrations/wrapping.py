"""Wrap functions so that they can be pickled and copied by reference, as plain functions can be.

A plain wrapt wrapper can be neither pickled, by pickle or cloudpickle, nor copied (wrapt 1.15 to 2.5): handing
`mlflow.log_metric` or a bound client method to joblib, Ray or Spark would fail. These wrappers are pickled as a name,
and a process without the agent gets MLflow's own function.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import wrapt

from autoinstrument.bootstrap.explain_log import note
from autoinstrument.tracebacks import users_call

Around = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]
"""wrapt's wrapper function: (wrapped, instance, args, kwargs) -> result."""


class _BoundReference(wrapt.BoundFunctionWrapper):  # type: ignore[misc]
    """A bound method, which attribute access on an instance gives; pickled and copied as Python does it."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return getattr, (self._self_instance, self.__name__)

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return getattr(copy.deepcopy(self._self_instance, memo), self.__name__)


class Reference(wrapt.FunctionWrapper):  # type: ignore[misc]
    """A function wrapper that pickles by its qualified name."""

    __bound_function_wrapper__ = _BoundReference

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__qualname__

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self


_bind = wrapt.FunctionWrapper.__get__  # without `super`, because each call of a method comes here


class _MethodReference(Reference):
    """A wrapper for a function of a class.

    Attribute access on the class gives the wrapper itself. wrapt's own gives a new object each time, and cloudpickle,
    which then does not find the function under its name, would pickle MLflow's code by value.
    """

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else _bind(self, instance, owner)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        with users_call:
            if not args:
                return self.__wrapped__(**kwargs)  # `self` is missing, or given by name
            return self.__get__(args[0], type(args[0]))(*args[1:], **kwargs)


def wrap(owner: ModuleType | type, name: str, around: Around) -> bool:
    """Replace the function `name` of a module or class by a wrapper; once, and only where there is such a function.

    Returns:
        False where the owner has no function of that name (another version of MLflow).
    """
    original = vars(owner).get(name)
    found = callable(original)
    if found and not isinstance(original, Reference):
        kind = _MethodReference if isinstance(owner, type) else Reference
        setattr(owner, name, kind(original, around))
    note("wrapped" if found else "not wrapped", f"{owner.__name__}.{name}")
    return found


def wrap_methods(module: ModuleType, class_name: str, methods: Mapping[str, Around]) -> None:
    """Wrap methods of a class.

    Raises:
        LookupError: the module has no such class.
    """
    owner = vars(module).get(class_name)
    if not isinstance(owner, type):
        note("not wrapped", f"{module.__name__}.{class_name}")
        raise LookupError(f"{module.__name__} has no class {class_name}")  # noqa: TRY004  (another version, not a wrong argument)
    for name, around in methods.items():
        wrap(owner, name, around)
