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
