"""The double of the ClearML server, in this process, and a session of the agent with it."""

from __future__ import annotations

from typing import Any

import pytest

from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Task, Tasks
from tests.clearml_server import ClearMLServer


@pytest.fixture
def session(server: ClearMLServer) -> Session:
    return Session()


@pytest.fixture
def tasks(session: Session) -> Tasks:
    return Tasks(session)


@pytest.fixture(params=["running", "finished"])
def task(request: pytest.FixtureRequest, tasks: Tasks) -> Task:
    """A Task with one of everything, once while it is running and once after its end."""
    body: dict[str, Any] = {
        "name": "one",
        "type": "training",
        "system_tags": ["development"],
        "hyperparams": {
            "MLflow": {"lr": {"section": "MLflow", "name": "lr", "value": "0.1"}},
            "properties": {"mlflow_run_id": {"section": "properties", "name": "mlflow_run_id", "value": "run"}},
        },
        "configuration": {"object": {"name": "object", "value": "text"}},
    }
    made = tasks.create("project", body)
    tasks.start(made)
    tasks.add_artifacts(made, [artifact("first")])
    if request.param == "finished":
        tasks.finish(made, "completed", "", "")
    return made


def artifact(key: str, uri: str = "https://host/file") -> dict[str, Any]:
    return {"key": key, "type": "custom", "mode": "output", "uri": uri}


def hyperparameter(section: str, name: str, value: str) -> dict[str, str]:
    return {"section": section, "name": name, "value": value}
