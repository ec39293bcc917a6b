"""A module that an agent has started in `src` runs where its origin was started, on each Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.startup.environment import Environment

PROGRAM = "import json, os, sys\nprint(json.dumps([os.getcwd(), sys.path[:2]]))\n"
TASK = {"task": "t", "run": "", "settings": {}, "entry_point": "-m pkg", "start_folder": ".", "working_dir": "src"}


@pytest.mark.parametrize("is_safe", [False, True], ids=["", "PYTHONSAFEPATH"])
def test_python_searches_the_folders_of_the_origin(light: Environment, tmp_path: Path, is_safe: bool) -> None:
    """The working directory first, as `-m` has it, which Python takes after its start-up files; then that of `src`."""
    root = tmp_path.resolve()
    (root / "src" / "pkg").mkdir(parents=True)
    (root / "src" / "pkg" / "__main__.py").write_text(PROGRAM)
    env = {"CLEARML_TASK_ID": "t", "AUTOINSTRUMENT_CLONE": json.dumps(TASK), "PYTHONPATH": str(root / "src")}
    found = light.result("-m", "pkg", cwd=root / "src", env=env | ({"PYTHONSAFEPATH": "1"} if is_safe else {}))
    assert found[0] == str(root)
    is_known = light.result("-c", "import sys; print(int(sys.version_info >= (3, 11)))")  # older ones have no such mode
    assert found[1][0] == str(root / "src" if is_safe and is_known else root)
    assert str(root / "src") in found[1]
