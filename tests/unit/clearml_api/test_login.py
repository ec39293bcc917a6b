"""Signing in, and where the servers are."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoinstrument.capture.script_section import DiffSettings
from autoinstrument.clearml_api.errors import ClearMLError, NotAllowedError, UnreachableError
from autoinstrument.clearml_api.login import Login
from autoinstrument.clearml_api.session import Session
from tests.clearml_server import ClearMLServer, Fault


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


def test_one_login_serves_all_requests(server: ClearMLServer) -> None:
    session = Session()
    for _ in range(3):
        session.call("tasks.get_all")
    assert len(server.calls("auth.login")) == 1
    session.login.forget()
    session.call("tasks.get_all")
    assert len(server.calls("auth.login")) == 2


def test_the_output_destination(server: ClearMLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    login = Login()
    assert login.output_uri() == server.files_url
    assert login.output_uri("s3://of-the-task/") == "s3://of-the-task"
    monkeypatch.setenv("CLEARML_DEFAULT_OUTPUT_URI", "s3://configured")
    assert login.output_uri() == "s3://configured"
    for word in ("true", "False", "None"):
        assert login.output_uri(word) == server.files_url


def test_settings_about_uncommitted_changes(server: ClearMLServer) -> None:
    assert Login().diff_settings() == DiffSettings(stored=True, from_remote=False)


def test_wrong_credentials(server: ClearMLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARML_API_SECRET_KEY", "wrong")
    with pytest.raises(NotAllowedError, match="does not accept the credentials"):
        Login().session()


def test_no_credentials(server: ClearMLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLEARML_API_HOST", "CLEARML_API_ACCESS_KEY", "CLEARML_API_SECRET_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(NotAllowedError, match="no ClearML credentials are configured"):
        Login().session()


def test_a_user_who_keeps_clearml_out(server: ClearMLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARML_OFFLINE_MODE", "1")
    with pytest.raises(NotAllowedError, match="nothing is sent to ClearML while CLEARML_OFFLINE_MODE=1 is set"):
        Login().session()
    assert server.requests == []


def test_a_server_that_is_gone(server: ClearMLServer) -> None:
    server.close()
    with pytest.raises(UnreachableError, match=f"no answer from {server.api_url}: connection refused"):
        Login().session()


@pytest.mark.parametrize(("status", "message"), [(503, "HTTP status 503"), (500, "HTTP status 500")])
def test_a_server_that_is_ill(server: ClearMLServer, status: int, message: str) -> None:
    server.faults.add(Fault("auth.login", status=status))
    with pytest.raises(ClearMLError, match=message):
        Login().session()


def test_a_folder_as_file_server(server: ClearMLServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLEARML_FILES_HOST", f"{tmp_path}/")
    assert Login().files_server() == str(tmp_path)


def test_the_output_destination_of_new_tasks(server: ClearMLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    login = Login()
    assert login.output_destination() == ""
    for given, found in (("s3://bucket/a", "s3://bucket/a"), ("true", ""), ("False", "")):
        monkeypatch.setenv("CLEARML_DEFAULT_OUTPUT_URI", given)
        assert login.output_destination() == found
    assert server.requests == [], "nobody logs in for it"
