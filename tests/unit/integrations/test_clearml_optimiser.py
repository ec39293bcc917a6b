"""When ClearML's optimiser has ended, its best job is handed to the process that tags it."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from autoinstrument.guard import logger
from autoinstrument.integrations import clearml_optimiser
from autoinstrument.transport import own_python


class Optimiser:
    """As `clearml.automation.HyperParameterOptimizer` names its parts."""

    def __init__(self, *jobs: dict[str, Any]) -> None:
        self.jobs = jobs

    def get_top_experiments_details(self, top_k: int) -> tuple[dict[str, Any], ...]:
        assert top_k > len(self.jobs)
        return self.jobs


def test_the_sdks_optimiser_has_the_parts_that_are_used() -> None:
    """`_report_daemon` is private; seen in clearml 1.16 to 2.1.12."""
    optimization = pytest.importorskip("clearml.automation.optimization")
    original = optimization.HyperParameterOptimizer._report_daemon
    assert callable(optimization.HyperParameterOptimizer.get_top_experiments_details)
    try:
        clearml_optimiser.instrument(optimization)
        assert optimization.HyperParameterOptimizer._report_daemon.__wrapped__ is original
    finally:
        optimization.HyperParameterOptimizer._report_daemon = original


@pytest.mark.parametrize("code", [0, 1])
def test_the_first_job_with_an_objective_is_tagged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    asked: list[str] = []

    def run(_: str, *arguments: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        asked.extend(arguments)
        return subprocess.CompletedProcess([], code, "", "a traceback\nthe server is gone\n")

    monkeypatch.setattr(own_python, "run", run)
    monkeypatch.delenv("CLEARML_OFFLINE_MODE", raising=False)
    done: list[str] = []
    failed, best = {"task_id": "1", "metrics": {}}, {"task_id": "2", "metrics": {"val/loss": {}}}
    logger().addHandler(caplog.handler)
    try:
        clearml_optimiser._reported(lambda: done.append("reported"), Optimiser(failed, best), (), {})
    finally:
        logger().removeHandler(caplog.handler)
    assert (done, asked) == (["reported"], ["2"])
    expected = "the best run of the optimiser is not tagged (its Task is 2): the server is gone"
    assert caplog.messages == [expected] * code


def test_without_an_objective_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(own_python, "run", lambda *arguments, **_: asked.extend(arguments))
    clearml_optimiser._reported(lambda: None, Optimiser({"task_id": "1", "metrics": {}}), (), {})
    assert asked == []
