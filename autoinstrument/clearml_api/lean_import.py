"""Import the ClearML SDK without the parts that this package does not use, in a process of the agent's own.

`import clearml` loads Task, Dataset, pipelines, numpy and, if they are installed, Hydra, pandas and the frameworks that
it binds to: 0.45 s of CPU and 82 to 120 MB. The parts that are used here take 0.15 s and 40 MB. The rest is loaded when
a module asks for it. Seen in clearml 1.16 to 2.1.12; if another version differs, all of it is imported.
"""

from __future__ import annotations

import functools
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any


def prepare() -> None:
    """Let later imports of the SDK load only what they name.

    Only for a process of the agent's own, before it has a second thread: while `jwt` is imported, `cryptography` cannot
    be. Nothing is done if the SDK was imported already, or is not installed.
    """
    spec = PathFinder.find_spec("clearml")
    if "clearml" in sys.modules or spec is None or spec.loader is None or not spec.submodule_search_locations:
        return
    package = module_from_spec(spec)
    vars(package)["__getattr__"] = _Missing(package, spec)
    sys.modules["clearml"] = package
    try:
        # The SDK reads the expiry date of a token, and checks no signature: 50 ms, 9 MB. Requests are repeated by
        # tenacity, which imports tornado and asyncio if tornado is installed: 20 ms.
        _ask_once_for_proxies()
        with _left_out("cryptography", "OpenSSL", "tornado"), _of_its_own("jwt"):
            import clearml.backend_api
            import clearml.config  # noqa: F401
            import tenacity  # noqa: F401
    except Exception:  # it is imported as a whole when it is needed, and any error is reported then
        for name in [name for name in sys.modules if name.partition(".")[0] == "clearml"]:
            del sys.modules[name]


class _Missing:
    """Runs the package's own `__init__` once a name of it is asked for that is not a loaded submodule."""

    def __init__(self, package: ModuleType, spec: ModuleSpec) -> None:
        self._package, self._spec = package, spec

    def __call__(self, name: str) -> Any:
        if name.startswith("__") and name != "__version__":
            raise AttributeError(name)
        vars(self._package).pop("__getattr__", None)
        if self._spec.loader is not None:
            self._spec.loader.exec_module(self._package)
        return getattr(self._package, name)


def _ask_once_for_proxies() -> None:
    """Keep which proxies the environment names: `requests` reads all of its variables twice for each request.

    This process does not change them. `requests` takes the functions over when it is imported.
    """
    asked = urllib.request.getproxies_environment
    kept = functools.cache(asked)

    def proxies() -> dict[str, str]:
        return dict(kept())

    if urllib.request.getproxies is asked:  # else the system has settings besides
        urllib.request.getproxies = proxies
    urllib.request.getproxies_environment = proxies


@contextmanager
def _left_out(*names: str) -> Iterator[None]:
    """Let imports of these packages fail, unless they are loaded already."""
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


@contextmanager
def _of_its_own(name: str) -> Iterator[None]:
    """Forget a package that is imported meanwhile, so that others import another copy of it."""
    if name in sys.modules:
        yield
        return
    try:
        yield
    finally:
        for module in [each for each in sys.modules if each.partition(".")[0] == name]:
            del sys.modules[module]
