"""Prompts that a run has used are on its Task, by `sync` and from the journal alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mlflow.tracking import MlflowClient

from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.cli import main
from autoinstrument.journal.kept_fields import FIELDS
from autoinstrument.journal.run_journal import RunJournal, RunJournals
from autoinstrument.mirror.kinds.prompts import Prompts
from autoinstrument.mirror.mapping import prompts
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mlflow_store import prompts as stored_prompts
from autoinstrument.mlflow_store.prompts import LINKED, linked_prompts
from autoinstrument.mlflow_store.run_reader import open_run
from autoinstrument.records import Prompt, PromptsUsed, RunStarted
from autoinstrument.settings import read_settings
from autoinstrument.transport.budget import weight
from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import task_of
from tests.unit.conftest import sdk_task

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
RUN = RunStarted("r", "run", "0", "exp", "http://x", "", "", 0, "", {}, False, True, "")


def prompt(**fields: Any) -> Prompt:
    given: dict[str, Any] = {
        "name": "greet", "version": "1", "template": "Hello {{name}}", "is_chat": False, "aliases": ["production"],
        "description": "", "tags": {}, "response_format": "", "model_config": "",
    }  # fmt: skip
    return Prompt(**{**given, **fields})


def test_an_entry_has_what_the_registry_holds_with_secrets_hidden() -> None:
    chat = json.dumps([{"role": "user", "content": "see https://me:hidden@example.com"}])
    entry = prompts.as_entry(prompt(template=chat, is_chat=True, description="1st", model_config='{"top_p": 1}'))
    assert entry == {
        "name": "greet", "version": "1", "uri": "prompts:/greet/1", "aliases": ["production"], "commit_message": "1st",
        "template": [{"role": "user", "content": "see https://me:********@example.com"}], "model_config": {"top_p": 1},
    }  # fmt: skip
    assert prompts.as_entry(prompt(template="{", is_chat=True))["template"] == "{", "an odd one is shown as it is"


def test_long_texts_are_left_out_and_one_that_the_registry_has_lost_stays() -> None:
    long = prompts.merged({}, [prompt(template="x" * 100_001)])
    assert long["greet/1"]["template"] == "100001 characters, left out"
    many = prompts.merged({}, [prompt(version=str(number), template="x" * 90_000) for number in range(30)])
    assert len(json.dumps(many)) < 2_100_000
    assert len(many) == 30
    assert prompts.merged(many, [prompt(version="3", template="")]) == many


def test_all_texts_of_a_run_are_bounded(client: MlflowClient, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_prompts, "_ALL", 20)
    client.set_tag(run_id, LINKED, linked("1", "2"))
    (used,) = Prompts().read(open_run(client.tracking_uri, run_id))
    assert isinstance(used, PromptsUsed)
    assert [each["template"] for each in used.prompts] == ["Hello {{name}}", ""]
    assert 500 < weight(used) < 5000


@pytest.mark.parametrize("text", ["", "[", "{}", "3", "[1]", "null", '[{"name": "a"}]', "[[]]"])
def test_a_tag_or_object_that_a_person_has_edited(text: str) -> None:
    assert linked_prompts({LINKED: text}) == []
    assert prompts.entries(text).keys() <= {"a/"}


def test_each_prompt_has_a_link_to_its_page() -> None:
    run = RUN._replace(run_url="https://x/mlflow/#/experiments/1/runs/2?workspace=team%20a")
    (link,) = prompts.pages([prompt()], run)
    assert link["uri"] == "https://x/mlflow/#/prompts/greet?promptVersion=1&workspace=team%20a"
    assert list(prompts.pages([prompt()], RUN)) == []


@pytest.fixture
def command(server: ClearMLServer, client: MlflowClient) -> Callable[..., Any]:
    def run(*arguments: str) -> Any:
        return json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)

    return run


def linked(*versions: str) -> str:
    return json.dumps([{"name": "greet", "version": version} for version in versions])


@pytest.fixture
def run_id(client: MlflowClient) -> str:
    """A run that has loaded the second of two versions of a prompt, as MLflow 3.1 and later link them."""
    for text in ("Hello {{name}}", "Good day, {{name}}"):
        client.register_prompt("greet", text, commit_message="be kind", tags={"tone": "kind"})
    client.set_prompt_alias("greet", "production", 2)
    run_id = str(
        client.create_run("0", tags={"mlflow.linkedPrompts": '[{"name": "greet", "version": "2"}]'}).info.run_id
    )
    client.set_terminated(run_id)
    return run_id


def test_sync_and_verify(
    command: Callable[..., Any],
    server: ClearMLServer,
    client: MlflowClient,
    run_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert [outcome["result"] for outcome in command("sync", "--all")] == ["synced"]
    task = task_of(server, run_id)
    found = json.loads(sdk_task(task["id"]).get_configuration_object("MLflow prompts"))
    assert [(each["uri"], each["template"], each["aliases"]) for each in found] == [
        ("prompts:/greet/2", "Good day, {{name}}", ["production"])
    ]
    assert (found[0]["commit_message"], found[0]["tags"]) == ("be kind", {"tone": "kind"})
    assert sdk_task(task["id"]).get_user_properties()["mlflow_prompts"]["value"] == "greet/2"
    assert command("verify", run_id)["same"] == 1
    assert [outcome["result"] for outcome in command("sync", "--all")] == ["unchanged"]
    client.set_prompt_alias("greet", "production", 1)
    assert command("verify", run_id)["same"] == 1, "the alias is that of the time of the run"
    client.set_tag(
        run_id, "mlflow.linkedPrompts", '[{"name": "greet", "version": "2"}, {"name": "greet", "version": "1"}]'
    )
    (different,) = command("verify", run_id)["different"]
    assert {"what": "prompt", "detail": "missing: greet/1"} in different["differences"]
    assert [outcome["result"] for outcome in command("sync", "--all")] == ["synced"]
    assert command("verify", run_id)["same"] == 1


def test_a_deleted_prompt_stays_on_the_task(
    command: Callable[..., Any], server: ClearMLServer, client: MlflowClient, run_id: str
) -> None:
    command("sync", "--all")
    client.delete_prompt_version("greet", "2")
    command("sync", "--full", "--run", run_id)
    (entry,) = json.loads(task_of(server, run_id)["configuration"]["MLflow prompts"]["value"])
    assert entry["template"] == "Good day, {{name}}"
    assert command("verify", run_id)["same"] == 1


def test_data_that_only_the_journal_has_is_synced_and_stays(
    command: Callable[..., Any], server: ClearMLServer, client: MlflowClient, run_id: str, tmp_path: Path
) -> None:
    """MLflow does not note which run has registered a prompt."""
    run = open_run(client.tracking_uri, run_id).stored.run._replace(owned=True)
    journal = RunJournals(read_settings()).of(run, None)
    journal.prompts = [prompt(version="1")]
    journal.save()
    assert "prompts" in FIELDS
    assert RunJournal.load(journal.folder).prompts == [prompt(version="1")]
    assert [outcome["result"] for outcome in command("sync")] == ["synced"]
    for _ in range(2):
        entries = prompts.entries(task_of(server, run_id)["configuration"]["MLflow prompts"]["value"])
        assert entries.keys() == {"greet/1", "greet/2"}
        assert command("verify", run_id)["same"] == 1
        command("sync", "--full", "--run", run_id)  # from MLflow's store alone


def test_a_run_without_prompts_asks_no_registry(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_prompts, "if_supported", lambda ask: pytest.fail("it was asked"))
    run = open_run(client.tracking_uri, str(client.create_run("0").info.run_id))
    assert list(Prompts().read(run)) == [PromptsUsed(run.run_id, [])]


def test_a_clone_does_not_keep_its_origins_prompts(
    command: Callable[..., Any], server: ClearMLServer, client: MlflowClient, run_id: str
) -> None:
    command("sync", "--all")
    origin, tasks = task_of(server, run_id), Tasks(Session())
    clone = str(Session().call("tasks.clone", task=origin["id"])["id"])

    run = RUN._replace(run_id="f" * 32, task_id=clone)
    journal = RunJournal(Path("x"), run, None)
    journal.kept = False
    RunMirror(journal, read_settings(), tasks, Uploads(FileUploads(Session()))).flush()
    held = tasks.get(clone)
    assert held["configuration"]["MLflow prompts"]["value"] == "[]"
    assert "mlflow_prompts" not in held["hyperparams"]["properties"]
