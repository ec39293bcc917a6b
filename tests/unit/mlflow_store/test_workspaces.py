"""The agent's calls name their workspace on their own thread alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from mlflow.tracking import MlflowClient

from autoinstrument.mlflow_store import internals
from autoinstrument.mlflow_store.stores import tracking_client
from autoinstrument.mlflow_store.workspaces import active, each_in_workspace, in_workspace, searched

context = pytest.importorskip("mlflow.utils.workspace_context", reason="this MLflow has no workspaces")


@pytest.fixture(autouse=True)
def none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_WORKSPACE", raising=False)


def test_threads_work_in_workspaces_of_their_own() -> None:
    seen: dict[str, str] = {}
    both = threading.Barrier(2)

    def work(workspace: str) -> None:
        with in_workspace(workspace):
            both.wait(60)
            seen[workspace] = context.get_request_workspace()
            both.wait(60)
        assert active() == ""

    threads = [threading.Thread(target=work, args=(name,)) for name in ("team-a", "team-b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"team-a": "team-a", "team-b": "team-b"}


def test_a_run_that_began_in_none_is_not_sought_in_the_present_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    with in_workspace(""):
        assert active() == ""
        monkeypatch.setenv("MLFLOW_WORKSPACE", "team-b")
    assert active() == "team-b"
    with in_workspace(""):
        assert active() == "default"
    assert active() == "team-b"


def test_work_between_two_items_is_not_in_their_workspace() -> None:
    def items() -> Iterator[str]:
        yield active()
        yield active()

    for item in each_in_workspace("team-a", items()):
        assert (item, active()) == ("team-a", "")


def test_the_variable_chooses_where_a_command_looks(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    of_database = tracking_client(client.tracking_uri)
    assert searched(of_database) == [""]
    monkeypatch.setenv("MLFLOW_WORKSPACE", "team-b")
    assert searched(of_database) == ["team-b"]


def test_an_mlflow_without_workspaces_does_not_read_the_variable(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_WORKSPACE", "team-b")
    monkeypatch.setattr(internals, "_WORKSPACES", "mlflow.utils.no_such_module")
    assert searched(tracking_client(client.tracking_uri)) == [""]


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        (200, {"workspaces_enabled": False}, [""]),
        (404, {}, [""]),
        (200, {"workspaces_enabled": True}, ["default", "a"]),
    ],
)
def test_only_a_server_that_has_workspaces_is_asked_for_them(
    status: int, body: dict[str, bool], found: list[str]
) -> None:
    """Another one answers with 503, which MLflow's client retries for minutes."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            is_list = self.path.endswith("/workspaces")
            answer = {"workspaces": [{"name": "a"}, {"name": "default"}]} if is_list else body
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        of_server = tracking_client(f"http://127.0.0.1:{server.server_port}")
        assert searched(of_server) == found
        server.shutdown()
    assert any(path.endswith("/workspaces") for path in asked) == (len(found) > 1)
