"""The parts of a worker's key, one by one."""

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
        "MLFLOW_TRACKING_PASSWORD", "MLFLOW_REGISTRY_URI", "DATABRICKS_HOST", "PGPASSWORD",
        "AWS_PROFILE", "AZURE_STORAGE_CONNECTION_STRING", "GOOGLE_APPLICATION_CREDENTIALS", "BOTO_CONFIG", "GS_KEY",
        "http_proxy", "HTTPS_PROXY", "no_proxy", "ALL_PROXY",
        "VAULT_TOKEN", "TEAM_SSO_CLIENT_SECRET",  # of a plug-in
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
        "MLFLOW_TRACKING_URI",
        "CLEARML_TASK_ID", "CLEARML_PROC_MASTER_ID", "CLEARML_OFFLINE_MODE", "AUTOINSTRUMENT_ENABLED",
        "RANK", "LOCAL_RANK", "TORCHELASTIC_RUN_ID", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS",
        "TOKENIZERS_PARALLELISM", "PWD", "SHLVL",
    ],
)  # fmt: skip
def test_a_variable_that_names_the_work_of_one_process_does_not_count(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(variable, raising=False)
    key = worker_key()
    monkeypatch.setenv(variable, "0123")
    assert worker_key() == key


def test_databricks_as_the_store_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow looks for the credentials of its artifacts by the variable, and not by the run's own store."""
    keys = set()
    for uri in ("", "sqlite:////data/mlflow.db", "https://mlflow.example.com", "databricks", "databricks://other"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        keys.add(worker_key())
    assert len(keys) == 3


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


_MANAGER = "0::/user.slice/user-1000.slice/user@1000.service"


@pytest.mark.parametrize(
    "group",
    [
        f"{_MANAGER}/app.slice/app-org.gnome.Terminal.slice/vte-spawn-8a3864e7-404c-47a6-b149-f333c63228a5.scope",
        f"{_MANAGER}/session.slice/vte-spawn-68d635ed-58e5-4522-95ee-2deb64da991a.scope",
        f"{_MANAGER}/app.slice/app-gnome-code-4242.scope",
        f"{_MANAGER}/app.slice/app-org.kde.konsole-10418.scope/tab(2336326).scope",
        f"{_MANAGER}/app.slice/app-org.kde.konsole-10418.scope/tab(17).scope",
        f"{_MANAGER}/tmux-spawn-1b2c8d6e-0000-4000-8000-5a5a5a5a5a5a.scope",
        f"{_MANAGER}/app.slice/app-tmux.slice/tmux-spawn-77.scope",
    ],
)
def test_terminals_of_a_desktop_are_one(key_in: Callable[[str], str], group: str) -> None:
    assert key_in(f"{group}\n") == key_in(f"{_MANAGER}/app.slice/vte-spawn-1.scope\n")
    assert key_in(f"{group.replace('1000', '1001')}\n") != key_in(f"{group}\n"), "another user's"
    hybrid = "1:name=systemd:{}\n10:memory:/user.slice/user-1000.slice/user@1000.service\n"
    paths = [each.removeprefix("0::") for each in (group, f"{_MANAGER}/apps.slice/vte-spawn-1.scope")]
    assert key_in(hybrid.format(paths[0])) == key_in(hybrid.format(paths[1]))


@pytest.mark.parametrize(
    "group",
    [
        f"{_MANAGER}/app.slice/run-r3ed76f0e5a8f4c5d9d1a.scope",  # systemd-run --user --scope
        f"{_MANAGER}/app.slice/run-p4711-i4712.scope",  # of systemd 257
        f"{_MANAGER}/app.slice/run-u42.service",  # systemd-run --user
        f"{_MANAGER}/app.slice/app-org.kde.konsole@58166e96f84e44d3a9cf9b573621dc19.service",
        f"{_MANAGER}/app.slice/jupyter.service",
        f"{_MANAGER}/app.slice/vte-spawn-1.scope/inner",
        f"{_MANAGER}/app.slice/run-r1.scope/tab(1).scope",
        f"{_MANAGER}/user.slice/libpod-0123456789abcdef.scope/container",  # rootless podman
        f"{_MANAGER}/user.slice/docker-0123456789abcdef.scope",  # rootless Docker
        f"{_MANAGER}/init.scope",
        "0::/user.slice/user-1000.slice/session-{}.scope",  # ssh, a console; it is stopped with KillUserProcesses=yes
        "0::/user.slice/user-1000.slice/session-c{}.scope",
        "0::/system.slice/run-r3ed7.scope",
        "0::/system.slice/app-1.scope",
        "0::/system.slice/docker-0123456789abcdef.scope",
        "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podab.slice/cri-containerd-cd.scope",
        "11:memory:/kubepods/burstable/podab/cd\n1:name=systemd:/kubepods/burstable/podab/cd",
        "11:memory:/docker/0123456789abcdef",
        "4:memory:/slurm/uid_1000/job_7/step_0",
        "0::/system.slice/slurmstepd.scope/job_7/step_0/user",
        "0::/",
    ],
)
def test_groups_that_may_end_on_their_own_have_workers_of_their_own(key_in: Callable[[str], str], group: str) -> None:
    """Jobs, containers, services and sessions share a worker neither with others of their kind, nor with terminals."""
    above, _, name = group.rpartition("/")
    other = f"{above}/{name.replace('1', '2').replace('{}', '2')}"
    keys = {key_in(f"{each}\n") for each in (group, other, f"{_MANAGER}/app.slice/vte-spawn-1.scope", _MANAGER)}
    assert len(keys) == 3 + (group != other)


@pytest.mark.parametrize("package", ["clearml", "mlflow"])
def test_the_version_of_a_package_counts(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So does that of a package that is not loaded: it is found as an import would find it."""
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


def test_values_that_are_not_text_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "CLEARML_NOTE", "\udcff")
    assert len(worker_key()) == 12
