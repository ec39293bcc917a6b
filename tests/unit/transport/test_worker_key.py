"""What tells workers apart, one by one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autoinstrument.transport import worker_key as worker_key_module
from autoinstrument.transport.worker_key import identities, used_files, worker_key

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no worker is shared")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CLEARML_CONFIG_FILE", "TRAINS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)


def test_a_key_is_twelve_digits_and_the_same_each_time() -> None:
    key = worker_key()
    assert len(key) == 12
    assert set(key) <= set("0123456789abcdef")
    assert worker_key() == key


@pytest.mark.parametrize(
    "variable",
    [
        "CLEARML_API_HOST", "CLEARML_API_SECRET_KEY", "TRAINS_API_HOST", "CLEARML_VCS_BRANCH",
        "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_PASSWORD", "DATABRICKS_HOST", "PGPASSWORD",
        "AWS_PROFILE", "AZURE_STORAGE_CONNECTION_STRING", "GOOGLE_APPLICATION_CREDENTIALS", "BOTO_CONFIG", "GS_KEY",
        "http_proxy", "HTTPS_PROXY", "no_proxy", "ALL_PROXY",
        "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
        "HOME", "NETRC", "PATH", "TMPDIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_COUNT",
        "AUTOINSTRUMENT_HOME", "AUTOINSTRUMENT_PROJECT", "AUTOINSTRUMENT_WORKER_LINGER", "AUTOINSTRUMENT_CLONE",
    ],
)  # fmt: skip
def test_a_variable_that_decides_how_servers_are_talked_to_counts(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {worker_key()}
    for value in ("one", "other"):
        monkeypatch.setenv(variable, value)
        keys.add(worker_key())
    assert len(keys) == 3


@pytest.mark.parametrize(
    "variable",
    [
        "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_CONTEXT", "MLFLOW_NESTED_RUN",
        "CLEARML_TASK_ID", "CLEARML_PROC_MASTER_ID", "CLEARML_OFFLINE_MODE", "AUTOINSTRUMENT_ENABLED",
        "RANK", "LOCAL_RANK", "TORCHELASTIC_RUN_ID", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "PWD", "SHLVL",
    ],
)  # fmt: skip
def test_a_variable_that_says_what_one_process_works_on_does_not(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(variable, raising=False)
    key = worker_key()
    monkeypatch.setenv(variable, "0123")
    assert worker_key() == key


def test_a_path_is_the_same_from_every_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "ca.pem").touch()
    keys = set()
    for folder, value in ((tmp_path, "ca.pem"), (tmp_path / "inner", "../ca.pem"), (Path("/"), tmp_path / "ca.pem")):
        monkeypatch.chdir(folder)
        monkeypatch.setenv("SSL_CERT_FILE", str(value))
        keys.add(worker_key())
    assert len(keys) == 1


@pytest.mark.parametrize("name", ["executable", "prefix", "version"])
def test_the_interpreter_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    key = worker_key()
    monkeypatch.setattr(sys, name, "/another/python")
    assert worker_key() != key


def test_the_folders_to_import_from_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = worker_key()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert worker_key() != key


def test_the_user_and_the_host_count(monkeypatch: pytest.MonkeyPatch) -> None:
    key = worker_key()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getuid", lambda: 4321)
        assert worker_key() != key
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(nodename="elsewhere"))
    assert worker_key() != key


@pytest.mark.skipif(sys.platform != "linux", reason="no namespaces")
@pytest.mark.parametrize("name", ["user", "pid", "mnt", "net"])
def test_the_namespaces_count(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    key, readlink = worker_key(), os.readlink

    def other(path: Any, **options: Any) -> Any:
        return f"{name}:[1]" if path == f"/proc/self/ns/{name}" else readlink(path, **options)

    monkeypatch.setattr(os, "readlink", other)
    assert worker_key() != key


@pytest.fixture
def key_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Returns the key of a process in a control group."""
    file = tmp_path / "cgroup"
    monkeypatch.setattr(worker_key_module, "_CONTROL_GROUP", str(file))

    def key(group: str) -> str:
        file.write_text(group)
        return worker_key()

    return key


def test_the_control_group_counts_and_the_ranks_of_a_step_are_one(key_in: Callable[[str], str]) -> None:
    step = "0::/system.slice/slurmstepd.scope/job_7/step_0/user"
    old = "4:memory:/slurm/uid_1000/job_7/step_0/task_{0}\n3:cpuset:/slurm/uid_1000/job_7/step_0/task_{0}\n"
    keys = {key_in(group) for group in ("0::/user.slice/a.scope\n", "0::/user.slice/b.scope\n", f"{step}\n")}
    assert len(keys) == 3
    assert key_in(f"{step}/task_0\n") == key_in(f"{step}/task_12\n") == key_in(f"{step}\n")
    assert key_in(old.format(0)) == key_in(old.format(1)) != key_in(old.format(0).replace("step_0", "step_1"))


@pytest.mark.parametrize("package", ["clearml", "mlflow"])
def test_the_version_of_a_package_counts(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one that is not loaded, too: it is found as an import would find it."""
    monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "first"), str(tmp_path / "second")])
    for number, folder in enumerate(("second", "first")):
        file = tmp_path / folder / package / "version.py"
        file.parent.mkdir(parents=True)
        key = worker_key()
        file.write_text(f"__version__ = '{number}'")
        assert worker_key() != key, folder
        assert str(file) in used_files()
    before = identities(used_files())
    os.utime(file, (1, 1))
    assert identities(used_files()) != before, "another file of the same size"


@pytest.mark.parametrize("variable", ["", "CLEARML_CONFIG_FILE", "TRAINS_CONFIG_FILE"])
def test_clearmls_configuration_counts(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `clearml-init`, nothing more is sent with the old credentials."""
    file = tmp_path / "clearml.conf"
    if variable:
        file = tmp_path / "other.conf"
        monkeypatch.setenv(variable, "~/other.conf")
    keys = [worker_key()]
    for text in ("a", "ab"):
        file.write_text(text)
        keys.append(worker_key())
    assert len(set(keys)) == 3
    assert worker_key() == keys[-1]


def test_without_proc_the_rest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Any, **options: Any) -> Any:
        raise OSError("no /proc")

    monkeypatch.setattr(os, "readlink", refuse)
    monkeypatch.setattr(worker_key_module, "_CONTROL_GROUP", "/nowhere")
    key = worker_key()
    assert worker_key() == key
    monkeypatch.setenv("CLEARML_API_HOST", "https://other.example.com")
    assert worker_key() != key


def test_values_that_are_no_text_are_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "CLEARML_NOTE", "\udcff")
    assert len(worker_key()) == 12
