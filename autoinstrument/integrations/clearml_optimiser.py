"""Tag the best run when an optimiser of ClearML's SDK has ended: `clearml.automation.HyperParameterOptimizer`.

The optimiser's own reporter thread does that at its end, which `stop` waits for. The process needs no MLflow: another
one, which ends soon, writes the tags.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from autoinstrument.clearml_switches import switched_off
from autoinstrument.guard import guard, logger
from autoinstrument.integrations.wrapping import wrap_methods
from autoinstrument.tracebacks import users_call

_LOOKED_AT = 50
"""Jobs among which the best one is looked for: in ClearML's order, jobs without an objective may come first."""
_LIMIT_S = 60.0
_CODE = "import sys; from autoinstrument.clone_run.best_run import main; main(sys.argv[1])"


def instrument(module: ModuleType) -> None:
    """Wrap the reporter thread's function in `clearml.automation.optimization` (clearml 1.16 to 2.1.12)."""
    wrap_methods(module, "HyperParameterOptimizer", {"_report_daemon": _reported})


def _reported(wrapped: Callable[..., Any], optimiser: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    with users_call:
        result = wrapped(*args, **kwargs)
    with guard("tagging the best run of an optimiser"):
        if not switched_off() and (task_id := _best(optimiser)):
            _tag(task_id)
    return result


def _best(optimiser: Any) -> str:
    """Return the id of the job's Task that is first in the optimiser's own order, "" if no job has an objective."""
    jobs = optimiser.get_top_experiments_details(top_k=_LOOKED_AT)
    return next((str(job["task_id"]) for job in jobs if job["metrics"]), "")


def _tag(task_id: str) -> None:
    from autoinstrument.transport import own_python

    done = own_python.run(_CODE, task_id, timeout_s=_LIMIT_S)
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:]
        logger().warning("the best run of the optimiser is not tagged (its Task is %s): %s", task_id, *reason or ["?"])
