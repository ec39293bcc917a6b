from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from autoinstrument.transport import own_python


def test_own_processes_have_no_switch_no_task_and_their_own_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AUTOINSTRUMENT_ENABLED", "CLEARML_TASK_ID", "TRAINS_PROC_MASTER_ID", "GIVEN", "TIMEOUT"):
        monkeypatch.setenv(name, "1")
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    found = json.loads(own_python.run(code, timeout_s=60, TIMEOUT="2", RETRIES="3").stdout)
    assert not found.keys() & {"AUTOINSTRUMENT_ENABLED", "CLEARML_TASK_ID", "TRAINS_PROC_MASTER_ID"}
    assert (found["GIVEN"], found["TIMEOUT"], found["RETRIES"]) == ("1", "1", "3")


def test_own_processes_import_nothing_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `logging.py` beside the script is the user's, also where PYTHONPATH names its folder."""
    (tmp_path / "logging.py").write_text("raise SystemExit('the wrong module')")
    (tmp_path / "more").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{tmp_path / 'more'}")
    code = "import json, logging, sys; import autoinstrument; print(json.dumps([sys.argv, sys.path]))"
    done = own_python.run(code, "a word", timeout_s=60)
    assert done.returncode == 0, done.stderr
    argv, path = json.loads(done.stdout)
    assert argv[1:] == ["a word"]
    assert str(tmp_path / "more") in path
    assert not {"", str(tmp_path)} & set(path)


def test_the_package_is_found_where_it_is_in_the_working_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(own_python.__file__).parents[2])
    done = own_python.run("import autoinstrument; print(autoinstrument.__file__)", timeout_s=60)
    assert Path(done.stdout.strip()).is_relative_to(Path.cwd())


def test_a_process_that_hangs_is_killed() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        own_python.run("import time; time.sleep(60)", timeout_s=0.5)


def test_a_process_that_leaves_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths mean there what they mean here."""
    (tmp_path / "site").mkdir()
    (tmp_path / "clearml.conf").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["", "site", "/elsewhere"])
    given = {
        "CLEARML_CONFIG_FILE": "clearml.conf",
        "AUTOINSTRUMENT_HOME": "not made yet",
        "MLFLOW_REGISTRY_URI": "sqlite:///registry.db",
        "SSL_CERT_DIR": "/etc/ssl",
        "AWS_CONFIG_FILE": "~/aws",
        "GROUP_PATH": "no path",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    environment = own_python.lasting_environment()
    assert {name: environment[name] for name in given} == {
        **given,
        "CLEARML_CONFIG_FILE": str(tmp_path / "clearml.conf"),
        "AUTOINSTRUMENT_HOME": str(tmp_path / "not made yet"),
        "MLFLOW_REGISTRY_URI": f"sqlite:///{tmp_path / 'registry.db'}",
    }
    assert own_python.import_path() == [str(tmp_path / "site"), "/elsewhere"]
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setattr("sys.argv", ["train.py"])
    assert own_python.import_path() == ["/elsewhere"]


def test_the_scripts_folder_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [str(tmp_path / "train.py")])
    monkeypatch.setattr("sys.path", [str(tmp_path), "/elsewhere"])
    assert own_python.import_path() == ["/elsewhere"]


def test_this_interpreter() -> None:
    assert own_python.interpreter() == sys.executable
    assert own_python.worker_kind("process") == "process"
    assert own_python.worker_kind("thread") == "thread"


@pytest.mark.parametrize("name", ["frozen", "_MEIPASS", "oxidized"])
def test_a_frozen_program_is_never_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where its name is that of an interpreter."""
    monkeypatch.setattr(sys, name, True, raising=False)
    assert own_python.interpreter() is None
    with pytest.raises(own_python.NoPythonError, match="is not a Python interpreter"):
        own_python.run("pass", timeout_s=60)


def test_a_program_that_nuitka_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled module beside an interpreter is nothing special."""
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__compiled__", SimpleNamespace(standalone=False), raising=False)
    assert own_python.interpreter() == sys.executable
    monkeypatch.setattr(main, "__compiled__", SimpleNamespace(standalone=True))
    assert own_python.interpreter() is None


def executable(path: Path, content: bytes = b"\x7fELF") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation without an interpreter, of which this process seems to be."""
    for name in ("prefix", "base_prefix"):
        monkeypatch.setattr(sys, name, str(tmp_path))
    monkeypatch.setattr(sys, "_base_executable", "", raising=False)
    return tmp_path


@pytest.mark.parametrize("given", [None, "", "/usr/sbin/uwsgi", "/nowhere/python3", "python3"])
def test_an_embedded_interpreter(given: str | None, nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sys.executable` is empty, or the program that embeds it: the interpreter of the installation is used, if any."""
    monkeypatch.setattr(sys, "executable", given)
    monkeypatch.chdir(nowhere)
    executable(nowhere / "python3")  # a relative path may mean any file
    assert own_python.interpreter() is None
    beside = executable(nowhere / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}")
    assert own_python.interpreter() == beside


@pytest.mark.parametrize(
    ("name", "content", "is_one"),
    [
        ("python", b"\x7fELF", True),
        ("python3.13t", b"\x7fELF", True),
        ("pypy3", b"\x7fELF", True),
        ("Python", b"\xcf\xfa", True),
        ("python", b"#!/bin/bash\nexec python -m scalene", False),
        ("train", b"\x7fELF", False),
        ("my-python", b"\x7fELF", False),
    ],
)
def test_names_of_interpreters(
    name: str, content: bytes, is_one: bool, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = executable(nowhere / name, content)
    monkeypatch.setattr(sys, "executable", path)
    assert own_python.interpreter() == (path if is_one else None)
    Path(path).chmod(0o644)
    assert own_python.interpreter() is None, "not executable"
    Path(path).unlink()
    Path(path).mkdir()
    assert own_python.interpreter() is None


def test_without_an_interpreter_the_worker_is_a_thread(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One line reports it, once."""
    monkeypatch.setattr(sys, "executable", "/usr/sbin/uwsgi")
    monkeypatch.setattr(own_python, "_warned", False)
    monkeypatch.setattr(own_python.logger(), "handlers", [caplog.handler])
    assert [own_python.worker_kind("process") for _ in range(2)] == ["thread", "thread"]
    assert own_python.worker_kind("thread") == "thread"
    (line,) = caplog.messages
    assert line == (
        "/usr/sbin/uwsgi is not a Python interpreter, so the worker is a thread of it, as with "
        "AUTOINSTRUMENT_WORKER=thread"
    )


def test_own_processes_know_their_interpreter_and_have_a_title() -> None:
    """Debuggers and profilers look for "python" in the first word; the title must not cost the virtual environment."""
    code = "import json, sys; print(json.dumps([sys.executable, sys.prefix, sys.orig_argv[0]]))"
    found = json.loads(own_python.run(code, timeout_s=60).stdout)
    assert found[:2] == [sys.executable, sys.prefix]
    if sys.platform == "linux":
        assert "python" not in Path(found[2]).name
        assert not Path(found[2]).exists(), "VizTracer looks for the interpreter in the first line of a script"
