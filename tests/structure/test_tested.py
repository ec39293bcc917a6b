"""Each module of the package is imported by a unit test: there a mistake shows at once, not as a script that hangs."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.startup.environment import ROOT
from tests.structure.test_rooms import modules
from tests.tiers import TIERS

ELSEWHERE = {
    "in a process, tests/end_to_end and tests/startup": {
        "__main__", "agent.process_report", "agent.worker_access", "clone_run.lineage", "mlflow_store.opening",
        "worker.console_router", "worker.notices",
    },
    "by running a relay, tests/unit/child_console/test_descriptors.py": {
        "child_console.descriptors", "child_console.relay", "child_console.relay_streams",
    },
    "by click's runner, through `autoinstrument.cli.main`": {
        "cli.doctor", "cli.install", "cli.run", "cli.status", "cli.usage_errors",
        "cli.verify", "sync.stored", "sync.task_search",
    },
    "through `capture.script_section`, `capture.requirements` and `capture.process`": {
        "capture.distributions", "capture.hydra", "capture.own_files",
        "capture.uncommitted_changes",
    },
    "through `clearml_api.tasks`": {
        "clearml_api.models", "clearml_api.task_edits", "clearml_api.task_lifecycle", "clearml_switches",
    },
    "through `mirror.run_mirror` and `mirror.kinds`": {
        "mirror.event_batches", "mirror.kinds.archiving",
        "mirror.kinds.artifacts",
        "mirror.kinds.machine", "mirror.kinds.model_archive", "mirror.kinds.model_writer",
        "mirror.kinds.models_part", "mirror.kinds.parameters", "mirror.kinds.snapshot",
        "mirror.kinds.status", "mirror.mapping.task_settings", "mirror.run_task",
        "previews",
    },
    "through `mlflow_store.run_reader`": {
        "mlflow_store.datasets",
    },
    "through the package `records`": {
        "records.answers", "records.command", "records.json_form", "records.process", "records.run", "records.types",
    },
    "through `settings`": {"setting_values", "switch"},
    "by running commands, tests/end_to_end/test_no_change.py": {
        "check", "check.comparison", "check.line_diff", "check.probe", "check.words",
    },
}  # fmt: skip
"""Modules that no unit test imports, by the place of their tests. The list may only shrink."""


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
