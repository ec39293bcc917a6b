"""Tags of a Task follow the run, and what a person adds or removes stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from mlflow.tracking import MlflowClient

from autoinstrument.cli import main
from autoinstrument.mirror.kinds.task_tags import TaskTags
from autoinstrument.mirror.mapping.task_tags import given_tags, names_in, rendered
from autoinstrument.settings import Settings
from tests.clearml_server import ClearMLServer
from tests.unit.conftest import sdk_task

TEMPLATES = ("prod", "team={team}", "lr={lr}", "{mlflow.user}", "key={api_key}")


@pytest.mark.parametrize(
    ("tags", "params", "found"),
    [
        ({}, {}, ["prod"]),
        ({"team": "a"}, {"lr": "0.1"}, ["prod", "team=a", "lr=0.1"]),
        ({"team": "a", "lr": "tag"}, {"lr": "0.1", "team": "b"}, ["prod", "team=a", "lr=tag"]),
        ({"team": "  ", "mlflow.user": "me"}, {}, ["prod", "me"]),
        ({"team": "a\n b"}, {"api_key": "hunter2"}, ["prod", "team=a b", "key=********"]),
        ({"mlflow.user": "prod"}, {}, ["prod"]),
    ],
)
def test_templates(tags: dict[str, str], params: dict[str, str], found: list[str]) -> None:
    assert rendered(TEMPLATES, tags, params) == found
    assert names_in(TEMPLATES) == {"team", "lr", "mlflow.user", "api_key"}


def test_a_long_value_is_cut() -> None:
    assert rendered(["{a}"], {"a": "x" * 8000}, {}) == ["x" * 250]


@pytest.mark.parametrize("text", ["", "[", "{}", "3", "[1]", "null"])
def test_a_property_that_a_person_has_edited(text: str) -> None:
    assert given_tags(text) == []


@pytest.fixture
def command(server: ClearMLServer, client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a command of autoinstrument's."""
    monkeypatch.setenv("AUTOINSTRUMENT_TAGS", "prod,team={team},lr={lr}")

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(main, arguments)

    return run


def test_sync_and_verify_follow_the_run_and_leave_a_persons_tags(
    command: Callable[..., Any], server: ClearMLServer, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = client.create_run("0", tags={"team": "a"}).info.run_id
    client.log_param(run_id, "lr", 0.1)
    client.set_terminated(run_id)
    assert command("sync", "--all").exit_code == 0
    (task,) = server.tasks
    as_read = sdk_task(task["id"])
    assert set(as_read.get_tags()) == {"mlflow", "prod", "team=a", "lr=0.1"}
    assert command("verify").exit_code == 0

    as_read.set_tags([tag for tag in as_read.get_tags() if tag != "prod"] + ["mine"])
    monkeypatch.setenv("AUTOINSTRUMENT_TAGS", "elsewhere")  # the Task keeps those that it was made with
    assert command("verify").exit_code == 0
    client.set_tag(run_id, "team", "b")
    differing = command("verify")
    assert differing.exit_code == 1
    assert "ClearML tag: missing: team=b" in differing.output
    assert "ClearML tag: no longer in MLflow: team=a" in differing.output
    assert command("sync", "--all").exit_code == 0
    assert set(server.tasks[0]["tags"]) == {"mlflow", "lr=0.1", "mine", "team=b"}
    assert command("verify").exit_code == 0
    client.delete_tag(run_id, "team")
    assert command("sync", "--all").exit_code == 0
    assert set(server.tasks[0]["tags"]) == {"mlflow", "lr=0.1", "mine"}


def test_an_older_task_has_none_and_differs_in_nothing(
    command: Callable[..., Any], server: ClearMLServer, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = client.create_run("0", tags={"team": "a"}).info.run_id
    client.set_terminated(run_id)
    monkeypatch.delenv("AUTOINSTRUMENT_TAGS")
    assert command("sync", "--all").exit_code == 0
    monkeypatch.setenv("AUTOINSTRUMENT_TAGS", "prod")
    assert command("verify").exit_code == 0
    assert server.tasks[0]["tags"] == ["mlflow"]


def test_without_the_setting_nothing_is_read() -> None:
    assert not TaskTags().is_mirrored(Settings())
