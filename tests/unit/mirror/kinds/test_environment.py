"""Arguments and configuration of a run, read back with ClearML's SDK as a user would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.records import RunStarted
from autoinstrument.settings import Settings
from autoinstrument.worker.live_run import LiveRun
from tests.clearml_server import ClearMLServer
from tests.unit.conftest import sdk_task
from tests.unit.mirror.runs import PROCESS

RUN = RunStarted("r" * 32, "name", "0", "exp", "sqlite:////x", "", "", 1, "", {}, False, True, "")
ARGUMENTS = [("lr", "0.5", "float"), ("epochs", "3", "int"), ("fast", "False", "bool"), ("Hydra/db.port", "1", "")]


OF_MODULE: Any = {"main_kind": "module", "main_module": "pkg", "main_path": "/w/src/pkg/__main__.py", "cwd": "/w"}


def mirrored(folder: Path, **process: Any) -> Any:
    """Return the Task, as the SDK reads it, of a run whose process has such fields."""
    session = Session()
    journal = RunJournal(folder, RUN, PROCESS._replace(**process))
    mirror = RunMirror(journal, Settings(), Tasks(session), Uploads(FileUploads(session)))
    mirror.flush()
    assert mirror.task is not None
    return sdk_task(mirror.task.id)


def test_arguments_with_their_types_and_help_texts(server: ClearMLServer, tmp_path: Path) -> None:
    texts = {"lr": "step size, see https://user:hunter2@host/x", "unknown": "is ignored"}
    task = mirrored(tmp_path, arguments=ARGUMENTS, help_texts=texts)
    values = task.get_parameters(cast=True)
    assert [values[f"Args/{name}"] for name in ("lr", "epochs", "fast")] == [0.5, 3, False]
    assert task.get_parameters_as_dict()["Hydra"] == {"db.port": "1"}
    described = server.task(task.id)["hyperparams"]["Args"]
    assert described["lr"]["description"] == "step size, see https://user:********@host/x"
    assert "description" not in described["epochs"]


def test_the_configuration_of_a_hydra_job(server: ClearMLServer, tmp_path: Path) -> None:
    """ClearML's switch is beside it, with which a clone gets the configuration that a person has edited."""
    task = mirrored(tmp_path, arguments=ARGUMENTS, configuration="db:\n  port: 1\n")
    assert task.get_configuration_object("OmegaConf") == "db:\n  port: 1\n"
    assert task.get_parameters_as_dict(cast=True)["Hydra"] == {"db.port": "1", "_allow_omegaconf_edit_": False}


@pytest.mark.parametrize("given", [{}, {"arguments": ARGUMENTS[:1]}])
def test_without_hydra_there_is_no_switch(server: ClearMLServer, tmp_path: Path, given: dict[str, Any]) -> None:
    task = mirrored(tmp_path, **given)
    assert "Hydra" not in task.get_parameters_as_dict()
    assert task.get_configuration_object("OmegaConf") is None


def test_the_start_folder_of_a_module(server: ClearMLServer, tmp_path: Path) -> None:
    """It is one more line of the settings; a Task that was made before its code was known gets it with the code.

    Settings that were changed since stay, also if the run is resumed.
    """
    first = of_module(tmp_path / "one", RUN)
    first.flush()
    assert first.task is not None
    task_id = first.task.id
    assert "START_FOLDER" not in settings_of(task_id)
    first.journal.script = {"repository": "https://host/a.git", "entry_point": "-m pkg", "working_dir": "src"}
    first.describe_again()
    first.flush()
    assert settings_of(task_id).splitlines()[-1] == "START_FOLDER=."

    edited = [{"name": "autoinstrument", "value": "AUTOINSTRUMENT_TAGS=kept\nSTART_FOLDER=.\n"}]
    Tasks(Session()).set_configuration(first.task, edited)
    second = of_module(tmp_path / "two", RUN._replace(resumed=True, task_id=""))
    second.journal.script = first.journal.script
    second.flush()
    second.describe_again()
    second.flush()
    assert settings_of(task_id) == edited[0]["value"]


def of_module(folder: Path, run: RunStarted) -> LiveRun:
    session = Session()
    journal = RunJournal(folder, run, PROCESS._replace(**OF_MODULE))
    return LiveRun(journal, Settings(), Tasks(session), Uploads(FileUploads(session)))


def settings_of(task_id: str) -> str:
    return str(sdk_task(task_id).get_configuration_object("autoinstrument"))


def test_only_what_has_changed_is_written_again(server: ClearMLServer, tmp_path: Path) -> None:
    """A Task is made with all that is known; what is found out later costs no request unless it is news."""
    session = Session()
    journal = RunJournal(tmp_path, RUN, PROCESS._replace(arguments=ARGUMENTS[:2]))
    journal.script, journal.freeze = {"entry_point": "train.py"}, "mlflow==3\n"
    journal.runtime = {"hostname": "host", "gpu_count": 0}
    mirror = LiveRun(journal, Settings(), Tasks(session), Uploads(FileUploads(session)))
    mirror.flush()
    assert server.tasks[0]["runtime"] == journal.runtime
    server.clear_requests()
    mirror.describe_again()
    mirror.flush()
    assert not server.requests
    journal.process = PROCESS._replace(arguments=[ARGUMENTS[0], ("epochs", "4", "int")])
    mirror.describe_again()
    mirror.flush()
    (request,) = server.requests
    assert request.endpoint == "tasks.edit_hyper_params"
    assert [item["value"] for item in request.body["hyperparams"]] == ["4"]


def test_an_argument_that_was_deleted_may_come_back(server: ClearMLServer, tmp_path: Path) -> None:
    session = Session()
    journal = RunJournal(tmp_path, RUN, PROCESS._replace(arguments=ARGUMENTS[:2]))
    mirror = LiveRun(journal, Settings(), Tasks(session), Uploads(FileUploads(session)))
    for arguments in (ARGUMENTS[:2], ARGUMENTS[:1], ARGUMENTS[:2]):
        journal.process = PROCESS._replace(arguments=arguments)
        mirror.describe_again()
        mirror.flush()
        assert server.tasks[0]["hyperparams"]["Args"].keys() == {name for name, _, _ in arguments}
