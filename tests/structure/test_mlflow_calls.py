"""The page of MLflow's calls names each function and method that MLflow has, and no other.

A new release of MLflow must not make a change of ours fail, so that this is skipped then. Mirror new calls if they log
run data, add them to docs/mlflow-calls.md, and name the release there.
"""

from __future__ import annotations

import inspect
import re

import mlflow
import mlflow.genai
import pytest
from mlflow.tracking import MlflowClient

from tests.startup.environment import ROOT

PAGE = (ROOT / "docs" / "mlflow-calls.md").read_text("utf-8")


def named(column: int) -> list[str]:
    """Return the names in one column of all tables of the page."""
    rows = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("|")]
    return [name for row in rows for name in re.findall(r"`([a-z_.]+)`", row[column])]


def functions(module: object, prefix: str = "") -> set[str]:
    """Return the names of a module's public functions, those of `__all__`."""
    found = {name: getattr(module, name) for name in module.__all__}  # type: ignore[attr-defined]
    return {prefix + name for name, value in found.items() if callable(value) and not inspect.isclass(value)}


def methods() -> set[str]:
    return {name for name in dir(MlflowClient) if name[0] != "_" and callable(getattr(MlflowClient, name))}


@pytest.mark.parametrize(
    ("column", "real"), [(0, functions(mlflow) | functions(mlflow.genai, "genai.")), (1, methods())]
)
def test_each_call_is_on_the_page_once(column: int, real: set[str]) -> None:
    (release,) = re.findall(r"in MLflow (\d+)\.(\d+);", PAGE)
    names = named(column)
    installed, shown = (tuple(map(int, numbers)) for numbers in (mlflow.__version__.split(".")[:2], release))
    if installed > shown:
        pytest.skip(f"the page is that of an earlier release; it lacks {sorted(real - set(names))}")
    assert real - set(names) == set(), "in this MLflow"
    assert installed < shown or set(names) - real == set(), "no longer in this MLflow"
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)
