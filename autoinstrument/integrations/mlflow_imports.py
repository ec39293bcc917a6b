"""Keep our threads out of MLflow's import hooks, where they and the whole process could stop for ever.

MLflow runs its hooks (`mlflow.autolog`, `mlflow.evaluate`) under a lock, and they import in turn; an import anywhere
else waits for that lock with Python's own import lock in its hands, and then neither goes on (seen with mlflow 2.16 and
3.17). Two threads of the user's meet in this way only if both import something. Ours would meet them often: MLflow
tries to import `pyspark` for each client, and `dbruntime` for each request to a server.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from autoinstrument.guard import is_ourselves
from autoinstrument.integrations.wrapping import wrap
from autoinstrument.tracebacks import users_call


def instrument_import_hooks(module: ModuleType) -> None:
    """Wrap `ImportHookFinder` of `mlflow.utils.import_hooks`."""
    hooks = vars(module).get("_post_import_hooks", {})

    def find_spec(wrapped: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not is_ourselves():
            with users_call:
                return wrapped(*args, **kwargs)
        name = args[0] if args else kwargs["fullname"]
        if name in hooks:  # imported here, it would be without its hook for good
            raise ModuleNotFoundError(f"{name} is left for a thread of the user's to import", name=name)
        return None

    wrap(module.ImportHookFinder, "find_spec", find_spec)
