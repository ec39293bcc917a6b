"""Each module of the package is imported by a unit test: there a mistake shows at once, not as a script that hangs."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.__main__ import TIERS
from tests.startup.environment import ROOT
from tests.structure.test_rooms import modules

ELSEWHERE = {
    "in a process, tests/end_to_end and tests/startup": {
        "__main__", "capture.launcher", "cli.environment_checks", "cli.hook_files", "cli.install", "cli.remote",
        "cli.run", "clone_run.lineage", "clone_run.start", "transport.worker_process", "worker.agent_task",
        "worker.capture_thread", "worker.program",
    },
    "by click's runner, through `autoinstrument.cli.main`": {
        "cli.doctor", "cli.status", "cli.sync", "cli.verify", "sync.recorded", "sync.selection", "sync.stored",
        "sync.verify",
    },
    "through `capture.script_section` and `capture.process`": {
        "capture.bundle", "capture.code", "capture.distributions", "capture.hydra", "capture.patch",
    },
    "through `clearml_api.session` and `clearml_api.tasks`": {
        "clearml_api.backoff", "clearml_api.deadline", "clearml_api.http", "clearml_api.models", "clearml_api.schema",
    },
    "through `mirror.run_mirror`": {
        "mirror.parts.artifacts", "mirror.parts.base", "mirror.parts.environment", "mirror.parts.models",
        "mirror.parts.parameters", "mirror.parts.snapshot", "mirror.rejections", "previews",
    },
    "through `mlflow_store.runs`": {
        "mlflow_store.artifacts", "mlflow_store.datasets", "mlflow_store.describe", "mlflow_store.link_tags",
        "mlflow_store.store_errors", "mlflow_store.unsupported",
    },
    "through `transport.sender`, tests/end_to_end": {
        "process_identity", "transport.batches", "transport.deferred_reads", "transport.forks",
        "transport.hidden_variables", "transport.posted", "transport.budget", "transport.sender",
    },
    "by running commands, tests/end_to_end/test_no_change.py": {
        "check", "check.comparison", "check.facts", "check.line_diff", "check.probe", "check.words",
        "clearml_switches",
    },
}  # fmt: skip
"""Modules that no unit test imports, by where they are tested instead. The list may only shrink."""


def imported() -> Iterator[str]:
    """Yield the names that unit tests import, below the package."""
    (unit,) = (tier for tier in TIERS if tier.name == "unit")
    for folder in unit.folders:
        for file in sorted((ROOT / folder).rglob("*.py")) if (ROOT / folder).is_dir() else [ROOT / folder]:
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.module:
                    yield node.module
                    yield from (f"{node.module}.{alias.name}" for alias in node.names)
                elif isinstance(node, ast.Import):
                    yield from (alias.name for alias in node.names)


def test_every_module_is_imported_by_a_unit_test() -> None:
    found = set(imported())
    code = {name for name, file in modules().items() if name and file.stat().st_size}  # empty: a folder's __init__
    missing = {name for name in code if f"autoinstrument.{name}" not in found}
    excused = set().union(*ELSEWHERE.values())
    assert missing - excused == set(), "without a unit test"
    assert excused - missing == set(), "to be taken off the list"
