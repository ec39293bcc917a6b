"""Signing in, and where the servers are."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from clearml import Task as SdkTask
from click.testing import CliRunner
from mlflow.tracking import MlflowClient

from autoinstrument.capture.settings import CaptureSettings
from autoinstrument.clearml_api.errors import ClearMLError, NotAllowedError, UnreachableError
from autoinstrument.clearml_api.login import Login
from autoinstrument.clearml_api.monitor_settings import MonitorSettings
from autoinstrument.clearml_api.session import Session
from autoinstrument.cli import main
from tests.clearml_server import ClearMLServer, Fault
from tests.unit.conftest import Configure


def test_the_addresses_of_the_servers(server: ClearMLServer) -> None:
    login = Login()
    assert login.addresses() == {
        "api": server.api_url,
        "web": server.web_url,
        "files": server.files_url,
        "key": f"{server.credentials.access_key[:4]}…",
    }
    assert login.files_server() == server.files_url
    assert login.task_page("t", "p").startswith(f"{server.web_url}/projects/p/")


def test_threads_that_need_the_configuration_first_read_it_once(
    server: ClearMLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes 0.1 s of CPU, and the worker's first threads all need it."""
    import clearml.config as sdk_config

    monkeypatch.setattr(sdk_config.ConfigWrapper, "_config", None)
    monkeypatch.setattr(sdk_config.ConfigSDKWrapper, "_config_sdk", None)
    read, reads = sdk_config.load_config, []

    def slowly(*args: object) -> object:
        reads.append(args)
        time.sleep(0.1)
        return read(*args)

    monkeypatch.setattr(sdk_config, "load_config", slowly)
    login = Login()
    with ThreadPoolExecutor(3) as threads:
        found = [threads.submit(ask) for ask in (login.capture_settings, login.monitor_settings, login.session)]
        assert all(each.result() for each in found)
    assert len(reads) == 1


def test_one_login_serves_all_requests(server: ClearMLServer) -> None:
    session = Session()
    for _ in range(3):
        session.call("tasks.get_all")
    assert len(server.calls("auth.login")) == 1
    session.login.forget()
    session.call("tasks.get_all")
    assert len(server.calls("auth.login")) == 2


def test_the_output_destination(server: ClearMLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Login().output_uri() == server.files_url
    assert Login().output_uri("s3://of-the-task/") == "s3://of-the-task"
    monkeypatch.setenv("CLEARML_DEFAULT_OUTPUT_URI", "s3://configured")
    login = Login()
    assert login.output_uri() == "s3://configured"
    for word in ("true", "False", "None"):
        assert login.output_uri(word) == server.files_url


def test_settings_about_uncommitted_changes(server: ClearMLServer) -> None:
    assert Login().capture_settings() == CaptureSettings()


def test_wrong_credentials(server: ClearMLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARML_API_SECRET_KEY", "wrong")
    with pytest.raises(NotAllowedError, match="does not accept the credentials"):
        Login().session()


def test_no_credentials(server: ClearMLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLEARML_API_HOST", "CLEARML_API_ACCESS_KEY", "CLEARML_API_SECRET_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(NotAllowedError, match="no ClearML credentials are configured"):
        Login().session()


def test_a_user_who_switches_clearml_off(server: ClearMLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARML_OFFLINE_MODE", "1")
    with pytest.raises(NotAllowedError, match="nothing is sent to ClearML while CLEARML_OFFLINE_MODE=1 is set"):
        Login().session()
    assert server.requests == []


def test_a_server_that_is_gone(server: ClearMLServer) -> None:
    server.close()
    with pytest.raises(UnreachableError, match=f"no answer from {server.api_url}: connection refused"):
        Login().session()


@pytest.mark.parametrize(("status", "message"), [(503, "HTTP status 503"), (500, "HTTP status 500")])
def test_a_server_that_fails(server: ClearMLServer, status: int, message: str) -> None:
    server.faults.add(Fault("auth.login", status=status))
    with pytest.raises(ClearMLError, match=message):
        Login().session()


def test_a_folder_as_file_server(server: ClearMLServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLEARML_FILES_HOST", f"{tmp_path}/")
    assert Login().files_server() == str(tmp_path)


def test_configured_fields_of_new_tasks(server: ClearMLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Login().task_fields() == {}
    for given, found in (("s3://bucket/a", {"output_dest": "s3://bucket/a"}), ("true", {}), ("False", {})):
        monkeypatch.setenv("CLEARML_DEFAULT_OUTPUT_URI", given)
        login = Login()
        assert login.task_fields() == found
    monkeypatch.setenv("TRAINS_DOCKER_IMAGE", "nvidia/cuda:11.1 --network host -e A=1")
    container = {"image": "nvidia/cuda:11.1", "arguments": "--network host -e A=1", "setup_shell_script": ""}
    assert login.task_fields() == {"container": container}
    monkeypatch.setenv("CLEARML_DOCKER_IMAGE", "python:3.12")
    monkeypatch.setenv("CLEARML_DOCKER_BASH_SCRIPT", "apt update")
    container = {"image": "python:3.12", "arguments": "", "setup_shell_script": "apt update"}
    assert login.task_fields() == {"container": container}
    assert server.requests == [], "nobody logs in for it"


def test_the_sdk_reads_the_configured_fields(
    server: ClearMLServer, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = client.create_run("0").info.run_id
    client.set_terminated(run_id)
    monkeypatch.setenv("CLEARML_DEFAULT_OUTPUT_URI", str(tmp_path))
    monkeypatch.setenv("CLEARML_DOCKER_IMAGE", "python:3.12 --ipc host")
    done = CliRunner().invoke(main, ["sync", "--run", run_id])
    assert done.exit_code == 0, done.output
    (task,) = server.tasks
    as_read = SdkTask.get_task(task["id"])
    assert as_read.output_uri == str(tmp_path)
    assert as_read.get_base_docker() == "python:3.12 --ipc host"


def test_switches_of_the_configuration(server: ClearMLServer, configure: Configure) -> None:
    def switches(login: Login) -> tuple[bool, bool]:
        return login.supports_stopping(), login.logs_console()

    first = Login()
    assert switches(first) == (True, True)
    configure("development.support_stopping", False)
    assert switches(Login()) == (False, True)
    configure("development.worker.log_stdout", "False")
    assert switches(Login()) == (False, False)
    assert switches(first) == (True, True), "the SDK, too, reads its configuration once a process"


def test_settings_about_the_capture(
    server: ClearMLServer, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure("development.store_uncommitted_code_diff", False)
    configure("development.store_code_diff_from_remote", True)
    configure("development.detect_with_pip_freeze", True)
    configure("development.log_os_environments", ["AWS_*", "CUDA_VERSION"])
    assert Login().capture_settings() == CaptureSettings(False, True, True, ("AWS_*", "CUDA_VERSION"))
    configure("development.log_os_environments", "A, B")
    login = Login()
    assert login.capture_settings().variables == ("A", " B")
    for given in ("[AWS_*, CUDA_VERSION]", "AWS_*, CUDA_VERSION"):
        monkeypatch.setenv("CLEARML_LOG_ENVIRONMENT", given)
        assert login.capture_settings().variables == ("AWS_*", " CUDA_VERSION")


def test_settings_about_the_monitor(server: ClearMLServer, configure: Configure) -> None:
    assert Login().monitor_settings() == MonitorSettings()
    configure("development.worker.report_start_sec", "12")
    configure("development.worker.wait_for_first_iteration_to_start_sec", 0)
    configure("development.worker.max_wait_for_first_iteration_to_start_sec", "soon")  # a mistake changes nothing
    configure("development.worker.report_global_mem_used", True)
    assert Login().monitor_settings() == MonitorSettings(12.0, 0.0, 1800.0, True)


def test_requests_carry_the_configured_name_of_the_worker(
    server: ClearMLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEARML_WORKER_NAME", "machine-7")
    assert Login().session().worker == "machine-7"
