"""Wait for MLflow without loading anything: a finder on `sys.meta_path` that runs a hook right after a module was run.

Standard library only, and of that only what `site` has loaded already: this file is run at the start of every
interpreter whose switch is on, most of which never import MLflow.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Hook = Callable[[ModuleType], None]

_OTHER_PROGRAMS = {
    "pip", "pip3", "easy_install", "ensurepip", "venv", "virtualenv", "build", "pyproject-build", "pyproject_hooks",
    "hatch", "hatchling", "uv", "pipx", "poetry", "pdm", "conda", "mamba", "autoinstrument", "clearml-agent",
    "clearml_agent", "get-pip",
}  # fmt: skip
"""Programs in which the agent has nothing to look for: installers, build back ends, ClearML's agent, our own CLI."""


def arm() -> None:
    """Put the finder in place; a second call, and a process that the agent stays out of, change nothing.

    Never raises: this runs before the user's program does.
    """
    if any(type(finder).__name__ == "AfterImport" for finder in sys.meta_path) or is_other_program(sys.orig_argv):
        return
    finder = AfterImport(
        {
            "argparse": _argparse_imported,
            "mlflow.tracking._tracking_service.client": _mlflow_client_imported,
            "mlflow.tracking.fluent": _mlflow_fluent_imported,
        }
    )
    sys.meta_path.insert(0, finder)
    for name in list(finder.hooks):
        module = sys.modules.get(name)
        if module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False):
            finder.imported(module)


def is_other_program(command: list[str]) -> bool:
    """Tell from the interpreter's command line (`sys.orig_argv`) whether it runs a program to stay out of."""
    arguments = iter(command[1:])
    for argument in arguments:
        if argument == "-m":
            return next(arguments, "").split(".")[0] in _OTHER_PROGRAMS
        if argument in ("-W", "-X", "--check-hash-based-pycs"):
            next(arguments, "")
        elif argument == "-c" or argument == "-":
            return False
        elif not argument.startswith("-"):
            name = os.path.basename(argument)  # noqa: PTH119  (pathlib is not loaded yet, and takes 5 ms)
            stem = name[:-3] if name.endswith(".py") else name
            # pip and build run back ends as `.../pyproject_hooks/_in_process/_in_process.py`; `python DIR` of pip's
            # own isolated builds runs `.../pip/__pip-runner__.py`.
            return stem in _OTHER_PROGRAMS or stem in ("_in_process", "__pip-runner__")
        elif argument.startswith("-m"):
            return argument[2:].split(".")[0] in _OTHER_PROGRAMS
    return False


class AfterImport:
    """A meta path finder that finds nothing itself: it lets the others find, and runs a hook after the module ran.

    The loader keeps its identity and type (tools look at both); for the one call its `exec_module` is shadowed by an
    instance attribute, which is gone when the hook runs.
    """

    def __init__(self, hooks: dict[str, Hook]) -> None:
        self.hooks = hooks

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec that the other finders give for a module that is waited for, None for any other."""
        if name not in self.hooks:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                self._shadow(spec)
                return spec
        return None

    def _shadow(self, spec: ModuleSpec) -> None:
        loader: Any = spec.loader
        original = getattr(loader, "exec_module", None)
        if original is None:
            return

        def exec_module(module: ModuleType) -> None:
            # Some loaders serve many modules (zipimport): only the one that is waited for is ours.
            if module.__name__ == spec.name:
                vars(loader).pop("exec_module", None)
            original(module)
            if module.__name__ == spec.name:
                self.imported(module)

        try:
            loader.exec_module = exec_module
        except AttributeError:  # a loader with __slots__: this module stays as it is
            pass

    def imported(self, module: ModuleType) -> None:
        """Run the hook of a module that has just been executed, once; whatever it raises stays here."""
        hook = self.hooks.pop(module.__name__, None)
        if hook is None:
            return
        try:
            hook(module)
        except Exception as error:  # an error here would make the user's `import mlflow` fail
            from autoinstrument.guard import guard

            with guard(f"instrumenting {module.__name__}"):
                raise error


def _argparse_imported(module: ModuleType) -> None:
    from autoinstrument.capture.arguments import watch

    watch(module)


def _mlflow_client_imported(module: ModuleType) -> None:
    from autoinstrument.agent import agent

    if agent() is not None:
        from autoinstrument.from_mlflow.instrument import instrument_client

        instrument_client(module)


def _mlflow_fluent_imported(module: ModuleType) -> None:
    from autoinstrument.agent import agent

    if agent() is not None:
        from autoinstrument.from_mlflow.instrument import instrument_fluent

        instrument_fluent(module)
