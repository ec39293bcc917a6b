"""Each part of the SDK that is used is there, and does what it is used for."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from autoinstrument.clearml_api import sdk
from autoinstrument.clearml_api.http import _Bounded
from tests.clearml_server import ClearMLServer, Fault
from tests.startup.environment import ROOT


def test_a_login_whose_connections_are_bounded(server: ClearMLServer) -> None:
    session = sdk.log_in()
    (http,) = [value for name, value in vars(session).items() if name.endswith("http_session")]
    assert all(isinstance(adapter, _Bounded) for adapter in http.adapters.values())
    for name in ("_session_initial_timeout", "_session_timeout", "_write_session_timeout"):
        assert hasattr(type(session).__mro__[1], name), "the SDK has another name for a limit"
        assert getattr(session, name) == (sdk.CONNECT_S, sdk.READ_S)
    assert sdk.addresses(session) == (server.api_url, server.web_url, server.files_url)
    assert sdk.files_address(session) == server.files_url
    assert sdk.access_key(session) == server.credentials.access_key
    assert sdk.with_token(session, {"a": "b"})["a"] == "b"
    assert len(sdk.with_token(session, {})) == 1


def test_the_sdk_does_not_wait_for_ever(server: ClearMLServer) -> None:
    from clearml.config import config_obj

    sdk.log_in()
    assert config_obj.get(sdk._WAITS_FOR_EVER, True) is False
    server.faults.add(Fault("tasks.get_all", status=503))
    assert sdk.send(sdk.log_in(), "tasks.get_all", {}).status_code == 503


def test_requests_and_batches(server: ClearMLServer) -> None:
    session = sdk.log_in()
    assert sdk.send(session, "debug.ping", {}).status_code == 200
    made = sdk.send(session, "tasks.create", {"name": "one", "type": "training"}).json()["data"]["id"]
    event = {"type": "log", "task": made, "timestamp": 1, "msg": "line", "level": "info"}
    assert [response.status_code for response in sdk.send_batch(session, "events.add_batch", [event, event])] == [200]
    assert server.console(made).count("line") == 2


def test_values_of_the_configuration(server: ClearMLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sdk.configured_api_server() == server.api_url
    assert sdk.configured("no.such.setting") is None
    assert sdk.default_output_uri() == ""
    monkeypatch.setenv("CLEARML_DEFAULT_OUTPUT_URI", "s3://bucket")
    assert sdk.default_output_uri() == "s3://bucket"
    assert re.fullmatch(f"{server.web_url}/projects/p/(tasks|experiments)/t/output/log", sdk.task_page("t", "p"))


def test_no_credentials(server: ClearMLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLEARML_API_HOST", "CLEARML_API_ACCESS_KEY", "CLEARML_API_SECRET_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(Exception) as raised:
        sdk.log_in()
    assert sdk.has_no_credentials(raised.value)


def test_a_file_in_other_storage(server: ClearMLServer, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("content")
    assert sdk.store_file(tmp_path / "a.txt", f"file://{tmp_path}/below/b.txt")
    assert (tmp_path / "below" / "b.txt").read_text() == "content"


def test_a_multipart_body() -> None:
    body = sdk.multipart({"name": ("name", b"content", "text/plain")})
    assert body.content_type.startswith("multipart/form-data")
    assert b"content" in body.read()


def test_no_other_module_imports_the_sdk() -> None:
    others = set((ROOT / "autoinstrument" / "clearml_api").glob("*.py"))
    others -= {file for file in others if file.name in ("sdk.py", "lean_import.py", "gpu_binding.py")}
    for file in others:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] == "clearml"], file.name
