"""`doctor`'s findings about the environment."""

from __future__ import annotations

import sys
from pathlib import Path

import mlflow.version
import pytest

from autoinstrument.cli import service_checks
from autoinstrument.cli.environment_checks import installation, lost_wrappers, settings, switch, worker
from autoinstrument.cli.hook_files import HookError, folder_of
from autoinstrument.cli.tracing import Traced, probe
from autoinstrument.settings import TABLE
from autoinstrument.transport import own_python


def found(environ: dict[str, str]) -> dict[str, tuple[bool | None, str]]:
    return {check.what: (check.ok, check.detail) for check in settings(environ)}


def test_each_setting_is_shown_with_its_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    shown = found({})
    assert shown.keys() == {setting.variable for setting in TABLE}
    assert shown["AUTOINSTRUMENT_HOME"] == (None, f"{tmp_path / 'autoinstrument'} (default)")
    assert shown["AUTOINSTRUMENT_MLFLOW_UI"] == (None, "the tracking URI (default)")
    assert shown["AUTOINSTRUMENT_EXIT_TIMEOUT"] == (None, "10 (default)")
    assert shown["AUTOINSTRUMENT_QUIET"] == (None, "off (default)")


def test_values_of_the_environment_good_and_bad() -> None:
    """Variables of the package's own processes are neither settings nor mistakes."""
    shown = found(
        {
            "AUTOINSTRUMENT_WORKER": "fiber",
            "AUTOINSTRUMENT_TASK": "{run_id}",
            "AUTOINSTRUMENT_PROJEKT": "x",
            "AUTOINSTRUMENT_ENABLED": "1",
            "AUTOINSTRUMENT_EXPLAIN": "/tmp/x",
            "PATH": "/bin",
        }
    )
    assert shown["AUTOINSTRUMENT_TASK"] == (True, "{run_id} (environment)")
    assert shown["AUTOINSTRUMENT_WORKER"][0] is False
    assert "one of process, thread" in shown["AUTOINSTRUMENT_WORKER"][1]
    assert shown["AUTOINSTRUMENT_PROJEKT"] == (False, "there is no such setting")
    assert len(shown) == len(TABLE) + 1


@pytest.mark.parametrize(("value", "detail"), [(None, "is not set: off"), ("1", "=1: on"), ("banana", "=banana: off")])
def test_the_switch(value: str | None, detail: str) -> None:
    check = switch(value)
    assert (check.ok, check.detail) == (value == "1", f"AUTOINSTRUMENT_ENABLED {detail}".replace(" =", "="))


def test_where_an_agent_finds_this_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel of this machine is a problem for a clone on another one only: it is named before a Task exists."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert installation().ok is True
    info = tmp_path / "autoinstrument-9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: autoinstrument\nVersion: 9\n")
    (info / "direct_url.json").write_text('{"url": "file:///a.whl", "archive_info": {}}')
    assert installation().ok is None
    assert "from a local file, file:///a.whl; other machines need" in installation().detail


def test_without_an_interpreter_each_check_reports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing runs the program that embeds Python, and the worker is a thread."""
    if sys.platform != "win32":
        check = worker()
        assert (check.ok, check.detail) == (True, f"a process of {sys.executable}")
    monkeypatch.setattr(own_python, "interpreter", lambda: None)
    monkeypatch.setattr(sys, "executable", "/usr/sbin/uwsgi")
    monkeypatch.setattr("autoinstrument.cli.hook_files.site_folders", list)
    reason = "/usr/sbin/uwsgi is not a Python interpreter"
    if sys.platform != "win32":
        assert (worker().ok, worker().detail) == (None, f"a thread of the training process: {reason}")
    assert service_checks._asked_of_mlflow()["problem"] == f"cannot be asked: {reason}"
    assert service_checks._probed()["error"] == f"cannot be asked: {reason}"
    with pytest.raises(OSError, match=reason):
        probe("1")
    with pytest.raises(HookError, match=reason):
        folder_of("")
    monkeypatch.setattr(sys, "platform", "win32")
    assert worker().detail == "a thread of the training process, as always on Windows"


REPLACED = "TrackingServiceClient.start_trace"
"""MLflow 3 has another function in its place."""


@pytest.mark.parametrize(
    ("version", "missing", "lost"),
    [
        ("3.17.2", [], ""),
        ("3.17.2", [REPLACED], ""),
        ("2.22.1", ["TrackingServiceClient.log_outputs"], ""),
        ("3.0.0", ["TrackingServiceClient.log_outputs"], "TrackingServiceClient.log_outputs"),
        ("3.4.0", ["TrackingServiceClient.link_traces_to_run"], ""),
        ("3.99", ["TrackingServiceClient.log_batch", REPLACED], "TrackingServiceClient.log_batch"),
    ],
)
def test_a_function_that_mlflow_should_have_is_a_problem_and_one_that_it_never_had_is_none(
    version: str, missing: list[str], lost: str
) -> None:
    found = list(lost_wrappers(Traced(0, {"version": [version], "not wrapped": missing})))
    assert [(check.ok, check.detail.rpartition(": ")[2]) for check in found] == ([(False, lost)] if lost else [])


@pytest.mark.interpreter
def test_this_mlflow_has_all_that_is_wrapped() -> None:
    traced = probe("1")
    assert traced.steps["version"] == [mlflow.version.VERSION]
    assert list(lost_wrappers(traced)) == []
