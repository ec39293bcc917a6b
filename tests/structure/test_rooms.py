"""Who imports whom: the package's folders as rooms, by the code's own imports, lazy and type-only ones included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.startup.environment import ROOT

PACKAGE = ROOT / "autoinstrument"
SHARED = {
    "_version", "atomic_file", "clearml_switches", "experiment_patterns", "guard", "json_shape",
    "named_tuple", "notebook_output", "previews", "process_identity", "records", "scrubber", "setting_values",
    "settings", "switch", "tracebacks", "versions",
}  # fmt: skip
"""Modules at the top of the package that every room may import."""
ROOMS = {
    "bootstrap": {"agent", "child_console", "integrations"},
    "integrations": {"agent", "bootstrap", "mlflow_store", "transport"},
    "agent": {
        "bootstrap", "capture", "child_console", "clone_run", "integrations", "journal", "mlflow_store", "transport",
    },
    "capture": {"bootstrap", "child_console", "integrations"},
    "child_console": {"bootstrap", "transport"},
    "transport": {"bootstrap", "mlflow_store", "worker"},
    "mlflow_store": {"integrations"},
    "clearml_api": {"capture"},
    "journal": {"capture", "clone_run", "mlflow_store"},
    "clone_run": {"bootstrap", "clearml_api", "integrations", "mlflow_store", "transport"},
    "mirror": {"capture", "clearml_api", "clone_run", "integrations", "journal", "mlflow_store", "transport"},
    "monitor": {"clearml_api"},
    "worker": {
        "capture", "child_console", "clearml_api", "clone_run", "journal", "mirror", "mlflow_store", "monitor",
        "transport",
    },
    "project_backend": {"agent", "capture", "clearml_api", "clone_run", "mirror", "mlflow_store", "transport"},
    "sync": {"clearml_api", "clone_run", "journal", "mirror", "mlflow_store"},
    "check": {"bootstrap", "mirror", "mlflow_store"},
    "reproduction": {"capture", "clone_run"},
    "cli": {
        "bootstrap", "capture", "check", "clearml_api", "clone_run", "integrations", "journal", "mirror",
        "mlflow_store", "monitor", "reproduction", "sync", "transport",
    },
    "__main__": {"cli"},
    "__init__": {"agent", "bootstrap", "clone_run"},
}  # fmt: skip
"""The rooms that a room may import from, besides itself and `SHARED`."""
FOREIGN = {
    "clearml": {"clearml_api", "integrations"},
    "mlflow": {"mlflow_store", "integrations", "bootstrap", "cli", "project_backend"},
    "wrapt": {"integrations"},
    "psutil": {"process_identity", "worker", "cli", "check", "monitor"},
    "pynvml": {"clearml_api"},
}
"""The rooms that may name another library. `bootstrap` asks for MLflow's version; `cli` traces a program's calls."""


def modules() -> dict[str, Path]:
    """Return the files of all modules by dotted name below the package, "" for the package itself."""
    files = [file for file in PACKAGE.rglob("*.py") if "hook" not in file.parts]
    names = {".".join(file.relative_to(PACKAGE).with_suffix("").parts): file for file in files}
    return {name.removesuffix("__init__").removesuffix("."): file for name, file in names.items()}


def imports(name: str, file: Path, known: dict[str, Path]) -> Iterator[str]:
    """Yield the imports of a module: the package's modules below the package, other libraries by their top name."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: imports are absolute"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.Constant) and name == "bootstrap.import_hook" and "." in str(node.value):
            found = [f"autoinstrument.{node.value}"] if node.value in known else []  # the table of hooks names modules
        else:
            continue
        for target in found:
            top, _, below = target.partition(".")
            if top != "autoinstrument":
                yield top
            else:
                yield f".{below if below in known else below.rpartition('.')[0]}"


def room(module: str) -> str:
    return module.partition(".")[0] or "__init__"


@pytest.fixture(scope="module")
def arrows() -> dict[str, set[str]]:
    """The imports of each module; modules of the package begin with a dot."""
    known = modules()
    return {name: set(imports(name, file, known)) - {f".{name}"} for name, file in known.items()}


def test_no_import_circle(arrows: dict[str, set[str]]) -> None:
    """A module can be understood without those that are built on it."""
    left = {name: {target[1:] for target in targets if target[:1] == "."} for name, targets in arrows.items()}
    while left:
        leaves = {name for name, targets in left.items() if not targets & left.keys()}
        assert leaves, f"a circle is among {sorted(left)}"
        left = {name: targets for name, targets in left.items() if name not in leaves}


def test_rooms_import_only_what_the_table_allows(arrows: dict[str, set[str]]) -> None:
    """Neither door imports the other; code of the training process imports no code that talks to ClearML."""
    for name, targets in arrows.items():
        allowed = SHARED | ROOMS.get(room(name), set()) | {room(name)}
        wrong = {target for target in targets if target[:1] == "." and room(target[1:]) not in allowed}
        wrong -= {".bootstrap.explain_log"} if room(name) == "guard" else set()
        assert not wrong, f"autoinstrument.{name} imports {sorted(wrong)}"


def test_only_the_doors_import_the_neighbours(arrows: dict[str, set[str]]) -> None:
    """Code that uses MLflow's or ClearML's internals is in one place each."""
    for library, rooms in FOREIGN.items():
        named = {room(name) for name, targets in arrows.items() if library in targets}
        assert named <= rooms, f"{library} is named in {sorted(named - rooms)}"
        assert named, f"{library} is named nowhere"


def test_the_table_has_all_rooms_and_no_unused_entry(arrows: dict[str, set[str]]) -> None:
    """An entry without an import would hide the next wrong import."""
    assert {room(name) for name in arrows} == ROOMS.keys() | SHARED
    drawn = {
        (room(name), room(target[1:])) for name, targets in arrows.items() for target in targets if target[:1] == "."
    }
    for name, allowed in ROOMS.items():
        assert allowed <= {target for source, target in drawn if source == name}, name


def test_the_training_process_does_not_load_psutil(arrows: dict[str, set[str]]) -> None:
    """Only the worker, a process of its own by default, and commands check whether a process is alive."""
    seen, todo = set[str](), ["agent", *(name for name in arrows if room(name) in ("bootstrap", "integrations"))]
    while todo:
        seen.add(name := todo.pop())
        assert "psutil" not in arrows[name], name
        targets = {target[1:] for target in arrows[name] if target[:1] == "." and room(target[1:]) != "worker"}
        todo += targets - seen
    assert "capture.process" in seen, "the walk leads nowhere"
