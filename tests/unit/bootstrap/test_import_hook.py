"""The finder that waits for modules, in this process. Its corner cases have new interpreters: tests/startup."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from autoinstrument.bootstrap.import_hook import AfterImport, arm

NAME = "awaited_by_a_test"
Await = Callable[[Callable[[ModuleType], None]], None]


@pytest.fixture
def awaited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Await]:
    """Waits for the module `awaited_by_a_test`, whose `order` is a list that begins with "run"."""
    (tmp_path / f"{NAME}.py").write_text("order = ['run']\nloader = __spec__.loader\n")
    monkeypatch.syspath_prepend(tmp_path)
    finders = list(sys.meta_path)
    yield lambda hook: sys.meta_path.insert(0, AfterImport({NAME: hook}))
    sys.meta_path[:] = finders
    sys.modules.pop(NAME, None)


def test_a_hook_runs_once_after_its_module(awaited: Await) -> None:
    awaited(lambda module: module.order.append("hook"))
    module = importlib.import_module(NAME)
    assert importlib.import_module(NAME).order == ["run", "hook"]
    importlib.reload(module)
    assert module.order == ["run", "hook"], "a module that is run again has lost what the hook did"


def test_no_stand_in_stays_on_the_module(awaited: Await) -> None:
    awaited(lambda module: None)
    module = importlib.import_module(NAME)
    assert module.__spec__ is not None
    for loader in (module.__loader__, module.__spec__.loader, module.loader):
        assert not type(loader).__module__.startswith("autoinstrument")


@pytest.mark.swallows(rf"instrumenting {NAME}: ZeroDivisionError")
def test_a_hook_that_fails_is_reported_and_the_import_succeeds(
    awaited: Await,
) -> None:
    def fail(module: ModuleType) -> None:
        raise ZeroDivisionError

    awaited(fail)
    assert importlib.import_module(NAME).order == ["run"]


def test_other_modules_are_left_to_the_other_finders() -> None:
    assert AfterImport({NAME: print}).find_spec("json") is None


@pytest.mark.parametrize("command", [["python", "-m", "pip"], ["python", "/usr/bin/uv"]])
def test_nothing_is_armed_in_an_installer(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", command)
    before = list(sys.meta_path)
    arm()
    assert sys.meta_path == before
