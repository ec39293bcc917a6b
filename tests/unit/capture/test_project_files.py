"""A project's files travel with its Task, unless they are hidden, produced by running it, large or no text."""

from __future__ import annotations

from pathlib import Path

from autoinstrument.capture.checkout import Checkout
from autoinstrument.capture.project_files import texts_of, untracked_files
from autoinstrument.capture.queued_process import queued_process
from autoinstrument.capture.script_section import Script, script_of
from autoinstrument.capture.settings import CaptureSettings
from tests.unit.repositories import Repository

FILES = {
    "MLproject": b"name: x\n", "src/a.py": b"1\n", "data.csv": b"1,2\n", ".env": b"KEY=1\n", "mlruns/0/meta.yaml": b"x",
    "model.bin": b"\0\1", "latin.txt": b"\xe4", "big.csv": b"1\n" * 60_000, "env/pyvenv.cfg": b"", "env/lib/b.py": b"1",
}  # fmt: skip


def put(folder: Path) -> None:
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def section(folder: Path) -> Script:
    process = queued_process("module", module="installed.program", folder=folder, line="main", sys_path=[])
    return script_of(process, folder=folder)


def test_a_folder_that_no_repository_holds(tmp_path: Path) -> None:
    put(tmp_path)
    lacks: list[str] = []
    assert texts_of(tmp_path, lacks.append) == {"MLproject": "name: x\n", "data.csv": "1,2\n", "src/a.py": "1\n"}
    expected = "big.csv, latin.txt, model.bin will be missing there: commit them, or log them as artifacts"
    assert lacks == [expected]
    script = section(tmp_path)
    assert script.entry_point == "run_program.py main"
    assert "FILES['MLproject']" in script.diff
    assert "runpy.run_module('installed.program'" in script.diff


def test_files_that_git_does_not_know(repository) -> None:
    folder = repository.root / "project"
    put(folder)
    repository.git("add", "project/MLproject")
    checkout = Checkout.of(folder)
    assert checkout is not None
    repository.write("beside.py", "")
    lacks: list[str] = []
    names = untracked_files(checkout, folder, lacks.append)
    assert names == ["project/data.csv", "project/src/a.py"]
    assert "project/model.bin" in lacks[0]


def test_a_commit_that_no_remote_has(repository: Repository) -> None:
    """Commits that were never pushed travel as changes since the newest one that was."""
    lacks: list[str] = []
    pushed = repository.head
    repository.git("checkout", "-q", "-b", "side")
    repository.write("some.py", "1")
    repository.commit()
    process = queued_process("module", module="installed.program", folder=repository.root, line="main", sys_path=[])
    script = script_of(process, CaptureSettings, lacks.append, folder=repository.root)
    assert (script.version_num, lacks) == (pushed, [])
    assert "some.py" in script.diff
    repository.push()
    script = script_of(process, CaptureSettings, lacks.append, folder=repository.root)
    assert (script.version_num, lacks) == (repository.head, [])
    assert "some.py" not in script.diff
