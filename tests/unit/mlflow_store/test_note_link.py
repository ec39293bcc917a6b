"""`AUTOINSTRUMENT_NOTE=on`: one line of the run's description links to the Task; it is not taken for a user's note."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from mlflow.tracking import MlflowClient

from autoinstrument.cli import main
from autoinstrument.mlflow_store.link_tags import STATE, TASK_URL, set_tags
from autoinstrument.mlflow_store.note_link import NOTE, with_link, without_link
from tests.clearml_server import ClearMLServer
from tests.end_to_end.conftest import database as database
from tests.end_to_end.harness import task_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
LINE = "[ClearML Task](https://new)"


@pytest.mark.parametrize(
    ("note", "noted"),
    [
        ("", LINE),
        ("a run", f"a run\n\n{LINE}"),
        ("[ClearML Task](https://old)", LINE),
        ("above\n\n[ClearML Task](https://old)\n\nbelow", f"above\n\n{LINE}\n\nbelow"),
        ("a\n[ClearML Task](x)\n\n[ClearML Task](y)\nb", f"a\n{LINE}\nb"),
        ("see [ClearML Task](x) here", f"see [ClearML Task](x) here\n\n{LINE}"),
        ("x" * 4990, "x" * 4990),  # no room
    ],
)
def test_one_line_is_added_or_replaced(note: str, noted: str) -> None:
    assert with_link(note, "https://new") == noted
    assert with_link(noted, "https://new") == noted
    assert without_link(with_link(without_link(note), "https://new")) == without_link(note)


def test_text_of_people_stays() -> None:
    assert without_link("above\n\n[ClearML Task](https://old)\n\nbelow") == "above\n\nbelow"
    assert without_link("[ClearML Task](https://old)\n\nbelow") == "below"


def test_sync_writes_and_keeps_the_line(
    client: MlflowClient, server: ClearMLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is never mirrored back, and `verify` misses it where a person has removed it."""
    monkeypatch.setenv("AUTOINSTRUMENT_NOTE", "on")
    run_id = client.create_run(client.create_experiment("noted"), tags={NOTE: "a note"}).info.run_id
    client.set_terminated(run_id)

    def call(*arguments: str) -> int:
        return CliRunner().invoke(main, [*arguments, run_id]).exit_code

    assert call("sync", "--run") == 0
    tags = client.get_run(run_id).data.tags
    assert tags[NOTE] == f"a note\n\n[ClearML Task]({tags[TASK_URL]})"
    assert task_of(server, run_id)["comment"] == "a note"
    for _ in range(2):
        assert call("verify") == call("sync", "--full", "--run") == 0
        assert client.get_run(run_id).data.tags == tags
    assert task_of(server, run_id)["comment"] == "a note"

    client.set_tag(run_id, NOTE, "another note")
    monkeypatch.delenv("AUTOINSTRUMENT_NOTE")  # the Task says how its run is shown
    assert call("verify") == 1
    assert call("sync", "--run") == call("verify") == 0
    assert client.get_run(run_id).data.tags[NOTE] == f"another note\n\n[ClearML Task]({tags[TASK_URL]})"
    assert task_of(server, run_id)["comment"] == "another note"


def test_a_deleted_run_and_one_without_an_address_stay_as_they_are(client: MlflowClient) -> None:
    run_id = client.create_run(client.create_experiment("gone")).info.run_id
    set_tags(client.tracking_uri, "", run_id, {STATE: "pending"}, note=True)
    assert NOTE not in client.get_run(run_id).data.tags
    client.delete_run(run_id)
    set_tags(client.tracking_uri, "", run_id, {STATE: "synced", TASK_URL: "https://new"}, note=True)
    assert client.get_run(run_id).data.tags[STATE] == "pending"
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"
