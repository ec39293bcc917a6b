"""A Task keeps the form that it was given: `sync` and `verify` go by its settings, not by their own environment's."""

from __future__ import annotations

from typing import Any

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, properties

UI = "https://mlflow.example.com/ui"
GIVEN = {
    "AUTOINSTRUMENT_PROJECT": "team/{experiment}",
    "AUTOINSTRUMENT_TASK": "{experiment}: {run_name}",
    "AUTOINSTRUMENT_ARTIFACTS": "upload",
    "AUTOINSTRUMENT_MLFLOW_UI": UI,
}
SCRIPT = """
    import mlflow
    mlflow.set_experiment("fruit")
    with mlflow.start_run(run_name="apple"):
        mlflow.log_param("lr", 0.1)
        mlflow.log_text("some text", "notes.txt")
    """


def form(server: ClearMLServer, run_id: str) -> dict[str, Any]:
    """Return the parts of a run's Task that the settings decide."""
    task = ended(server, run_id)
    return {
        "name": task["name"],
        "project": server.project_name(task["project"]),
        "artifacts": {entry["key"]: entry["uri"] for entry in task["execution"].get("artifacts", [])},
        "url": properties(task).get("mlflow_run_url", ""),
    }


def assert_kept(place: Place, server: ClearMLServer, run_ids: list[str]) -> None:
    """Neither command finds anything to do, in an environment without the settings."""
    before = [form(server, run_id) for run_id in run_ids]
    verified = place.command("verify")
    assert (verified.code, verified.stdout) == (0, f"{len(run_ids)} the same, 0 different\n")
    synced = place.command("sync", "--all", "--full")
    assert synced.code == 0, synced.stdout + synced.stderr
    assert [form(server, run_id) for run_id in run_ids] == before


def assert_given(server: ClearMLServer, made: dict[str, Any]) -> None:
    assert (made["name"], made["project"]) == ("fruit: apple", "team/fruit")
    assert made["url"].startswith(UI)
    assert made["artifacts"]["notes.txt"].startswith(server.files_url)


def test_settings_of_complete_tasks(own_place: Place, own_server: ClearMLServer) -> None:
    """Copies stay copies, omitted data is not missed, and a Task's settings are untrusted data."""
    for more in (GIVEN, {"AUTOINSTRUMENT_ARTIFACTS": "off"}, {}):
        assert own_place.run(SCRIPT, **more).code == 0
    given, off, neither = [run.info.run_id for run in own_place.mlflow_runs()]
    assert_given(own_server, form(own_server, given))
    assert not form(own_server, off)["artifacts"]
    text = "AUTOINSTRUMENT_TASK={run_name.__class__}\nAUTOINSTRUMENT_HOME=/elsewhere\n"
    with own_server.state.lock:
        task = own_server.state.tasks[ended(own_server, neither)["id"]]
        task["configuration"] = {"autoinstrument": {"name": "autoinstrument", "value": text, "type": "text"}}
    assert_kept(own_place, own_server, [given, off, neither])


def test_settings_of_tasks_that_are_made_later(own_place: Place, own_server: ClearMLServer) -> None:
    """A run that had no server has its process's settings, one from before the agent those of the first `sync`."""
    assert own_place.run(SCRIPT, **GIVEN, CLEARML_API_HOST="http://127.0.0.1:9").code == 0
    assert own_place.run(SCRIPT, agent=False).code == 0
    pending, plain = [run.info.run_id for run in own_place.mlflow_runs()]
    assert not own_server.tasks
    assert own_place.command("sync").code == 0
    assert_given(own_server, form(own_server, pending))
    assert own_place.command("sync", "--run", plain, **GIVEN).code == 0
    assert_given(own_server, form(own_server, plain))
    assert_kept(own_place, own_server, [pending, plain])
