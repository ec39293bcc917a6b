"""The file that starts a program: read by the real shell; that for Windows is compared as a text."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from autoinstrument.reproduction.start_file import Start, batch, run_start_file, shell, shown, write_start_file

SCRIPT = """
import json, os, sys
names = ("TEXT", "GIVEN", "PYTHONPATH")
print(json.dumps([sys.argv[1:], os.getcwd(), {name: os.environ.get(name) for name in names}]))
sys.exit(3)
"""
START = Start(
    "bold $(touch outside)\nant", "code/my dir", sys.executable, ["train.py", "it's", "$HOME", ""],
    {"TEXT": "a'b\n$(touch outside)", "GIVEN": "recorded"}, (".", "my lib"),
)  # fmt: skip


def test_the_shell(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Words and values are taken literally; variables that are set win; the exit code is the program's."""
    place = tmp_path / "moved here/x"
    (place / "code/my dir").mkdir(parents=True)
    (place / "code/my dir/train.py").write_text(SCRIPT)
    file = write_start_file(place, START)
    assert run_start_file(file, {"PATH": os.defpath, "GIVEN": "", "PYTHONPATH": "/own"}) == 3
    words, cwd, variables = json.loads(capfd.readouterr().out)
    assert words == ["it's", "$HOME", ""]
    assert cwd == str(place / "code/my dir")
    assert variables == {"TEXT": START.variables["TEXT"], "GIVEN": "", "PYTHONPATH": f"{cwd}:{cwd}/my lib:/own"}
    assert not list(tmp_path.rglob("outside"))


def test_a_signal_is_reported_as_a_shell_does(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import os\nos.kill(os.getpid(), 15)\n")
    file = write_start_file(tmp_path, START._replace(working_dir="."))
    assert run_start_file(file, {}) == 143


def test_an_interpreter_of_the_folder_and_a_shell_script() -> None:
    assert 'exec "$here"/.venv/bin/python train.py' in shell(START._replace(interpreter=".venv/bin/python"))
    assert "exec /bin/sh train.py" in shell(START._replace(interpreter=""))


def test_for_windows() -> None:
    start = Start("100% sure", "code", ".venv/Scripts/python.exe", ["train.py", "a b"], {"X": "50%"}, (".", "src/lib"))
    path = "%CD%;%CD%\\src\\lib"
    assert batch(start).split("\r\n")[4:-2] == [
        'if not defined X set "X=50%%"',
        'cd /d "%~dp0code" || exit /b 1',
        f'if defined PYTHONPATH (set "PYTHONPATH={path};%PYTHONPATH%") else set "PYTHONPATH={path}"',
        '"%~dp0.venv\\Scripts\\python.exe" train.py "a b" %*',
    ]


def test_a_command_line_for_a_person() -> None:
    assert shown(["python", "train.py", "a b"]) == "python train.py 'a b'"
