from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from autoinstrument.transport import own_python


def test_it_has_no_switch_no_task_and_its_own_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AUTOINSTRUMENT_ENABLED", "CLEARML_TASK_ID", "TRAINS_PROC_MASTER_ID", "GIVEN", "TIMEOUT"):
        monkeypatch.setenv(name, "1")
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    found = json.loads(own_python.run(code, timeout_s=60, TIMEOUT="2", RETRIES="3").stdout)
    assert not found.keys() & {"AUTOINSTRUMENT_ENABLED", "CLEARML_TASK_ID", "TRAINS_PROC_MASTER_ID"}
    assert (found["GIVEN"], found["TIMEOUT"], found["RETRIES"]) == ("1", "1", "3")


def test_it_imports_nothing_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_what_hangs_is_killed() -> None:
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
