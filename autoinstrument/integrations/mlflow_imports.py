"""Keep the agent's threads out of MLflow's import hooks, where they and the whole process could deadlock.

MLflow runs its hooks (`mlflow.autolog`, `mlflow.evaluate`) under a lock, and they import in turn. An import on another
thread waits for that lock while it holds Python's own import lock, and then neither thread continues (seen with mlflow
2.16 and 3.17). Two threads of the user meet in this way only if both import something. The agent's threads would meet
them often: MLflow tries to import `pyspark` for each client, and `dbruntime` for each request to a server.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from autoinstrument.guard import is_own_call
from autoinstrument.integrations.mlflow_internals import import_hook_finder, import_hooks
from autoinstrument.integrations.wrapping import wrap
from autoinstrument.tracebacks import users_call


def instrument_import_hooks(module: ModuleType) -> None:
    """Wrap `ImportHookFinder` of `mlflow.utils.import_hooks`."""
    hooks = import_hooks(module)

    def find_spec(wrapped: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not is_own_call():
            with users_call:
                return wrapped(*args, **kwargs)
        name = args[0] if args else kwargs["fullname"]
        if name in hooks:  # imported here, it would never get its hook
            raise ModuleNotFoundError(f"{name} is left for the user's threads to import", name=name)
        return None

    wrap(import_hook_finder(module), "find_spec", find_spec)
