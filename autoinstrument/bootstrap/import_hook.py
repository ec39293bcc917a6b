"""Instrument modules when they are imported: a finder on `sys.meta_path` runs a hook right after a module has run.

Every interpreter whose switch is on runs this file at its start, and most of them never import MLflow. So it imports
only what the interpreter has loaded by then. Annotations are quoted, because `__future__` and `typing` are not loaded.
"""

import os
import sys
from _thread import get_ident

from autoinstrument.bootstrap.program import is_other_program, what_runs

TYPE_CHECKING = False  # type checkers take it for typing's
if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    Hook = Callable[[ModuleType], None]

_HOOKS = {
    "argparse": ("integrations.argparse_values", "watch", False),
    "click.core": ("integrations.click_values", "watch", False),
    "typer._click.core": ("integrations.click_values", "watch", False),
    "absl.flags._flagvalues": ("integrations.absl_values", "watch", False),
    "fire.core": ("integrations.fire_values", "watch", False),
    "jsonargparse._core": ("integrations.jsonargparse_values", "watch", False),
    "jsonargparse.core": ("integrations.jsonargparse_values", "watch", False),
    "tyro._cli": ("integrations.tyro_values", "watch", False),
    "hydra.core.utils": ("integrations.hydra_config", "watch", False),
    "mlflow.tracking._tracking_service.client": ("integrations.mlflow_tracking", "instrument_client", True),
    "mlflow.tracking._model_registry.client": ("integrations.mlflow_models", "instrument_registry", True),
    "mlflow.tracing.client": ("integrations.mlflow_traces", "instrument_tracing", True),
    "mlflow.tracking.artifact_utils": ("integrations.mlflow_inputs", "instrument_fetching", True),
    "mlflow.utils.import_hooks": ("integrations.mlflow_imports", "instrument_import_hooks", True),
    "mlflow.tracking.fluent": ("integrations.mlflow_tracking", "instrument_fluent", True),
    "transformers.integrations.integration_utils": ("integrations.hugging_face", "instrument_transformers", False),
    "accelerate.tracking": ("integrations.hugging_face", "instrument_accelerate", False),
    "clearml.binding.frameworks": ("integrations.clearml_bindings", "instrument_models", False),
    "clearml.binding.matplotlib_bind": ("integrations.clearml_bindings", "instrument_figures", False),
    "clearml.automation.optimization": ("integrations.clearml_optimiser", "instrument", False),
}
"""Modules that are waited for. Each has a module of this package, the function in it that is called with the imported
module, and True if that is called only where MLflow's version and the settings allow the agent. The others ask later,
or need not ask."""


def arm() -> None:
    """Put the finder in place, and run the hooks of modules that are imported already.

    A second call changes nothing, nor does a call in a program that the agent stays out of.
    """
    # By name, because a test or a tool may have loaded this module a second time.
    if any(type(finder).__module__ == __name__ for finder in sys.meta_path):
        return
    if is_other_program(sys.orig_argv):
        _note("other program", " ".join(what_runs(sys.orig_argv[1:])))
        return
    _note("armed", "after MLflow's import" if "mlflow" in sys.modules else "before MLflow's import")
    _capture_console()
    finder = AfterImport({name: _hook(*place) for name, place in _HOOKS.items()})
    sys.meta_path.insert(0, finder)
    for name in finder.hooks:
        module = sys.modules.get(name)
        if module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False):
            finder.imported(name, module)


def _note(step: str, detail: str = "") -> None:
    if os.environ.get("AUTOINSTRUMENT_EXPLAIN"):
        from autoinstrument.bootstrap.explain_log import note

        note(step, detail)


def _capture_console() -> None:
    """Capture what this process writes, if it is part of a training; if it gets an agent, that takes over."""
    try:
        from autoinstrument.bootstrap import training_around

        if training_around.is_likely():
            from autoinstrument.child_console import plain_capture

            plain_capture.begin()
    except Exception:  # noqa: S110  (a broken installation; what is missing is some lines of a console)
        pass


def _is_wanted() -> bool:
    from autoinstrument.bootstrap.support import is_wanted

    return is_wanted()


def _hook(module: str, name: str, asks: bool) -> "Hook":
    def hook(imported: "ModuleType") -> None:
        if not asks or _is_wanted():
            getattr(__import__(f"autoinstrument.{module}", fromlist=[name]), name)(imported)

    return hook


class AfterImport:
    """A meta path finder that asks the others, and runs a hook after the module that they found has run."""

    def __init__(self, hooks: "dict[str, Hook]") -> None:
        self.hooks = hooks
        self._asking: set[tuple[int, str]] = set()

    def find_spec(self, name: str, path: "Any" = None, target: "ModuleType | None" = None) -> "ModuleSpec | None":
        """Return the spec that the other finders give for a module that is waited for, None for any other."""
        if name not in self.hooks:
            return None
        asking = (get_ident(), name)
        if asking in self._asking:  # another finder that asks all others (wrapt's) has asked this one
            return None
        self._asking.add(asking)
        try:
            for finder in list(sys.meta_path):
                find_spec = None if finder is self else getattr(finder, "find_spec", None)
                spec: ModuleSpec | None = find_spec and find_spec(name, path, target)
                if spec is not None:
                    if hasattr(spec.loader, "exec_module"):
                        spec.loader = _Loader(spec, self)  # type: ignore[assignment]
                    return spec
        finally:
            self._asking.discard(asking)
        return None

    def imported(self, name: str, module: "ModuleType") -> None:
        """Run the hook of a module that has been executed, for the first time or again; its errors are logged."""
        _note("imported", name)
        try:
            self.hooks[name](module)
        except Exception:
            try:
                from autoinstrument.guard import guard

                with guard(f"instrumenting {name}"):
                    raise
            except Exception:  # noqa: S110  (a broken installation cannot even log it, and the import must go on)
                pass


class _Loader:
    """Takes the place of a module's loader until the module has run, then puts the real one back.

    Tools look at a module's loader and its type, so no trace stays on the module or its spec. The real loader itself is
    not changed: it may serve many modules, in several threads (zipimport).
    """

    def __init__(self, spec: "ModuleSpec", finder: AfterImport) -> None:
        self._spec: Any = spec
        self._real: Any = spec.loader
        self._finder = finder

    def __getattr__(self, name: str) -> "Any":
        if name == "_real":  # not set yet: a copy is being made
            raise AttributeError(name)
        return getattr(self._real, name)

    def exec_module(self, module: "Any") -> None:
        if self._spec.loader is self:  # unless another tool's loader has wrapped this one
            self._spec.loader = self._real
        spec = module.__spec__
        if getattr(spec, "loader", None) is self:
            spec.loader = self._real
        if getattr(module, "__loader__", None) is self:
            module.__loader__ = self._real
        try:
            self._real.exec_module(module)
        except BaseException as error:  # `tracebacks.leave_out_frame`, without an import
            error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
            raise
        self._finder.imported(self._spec.name, module)
