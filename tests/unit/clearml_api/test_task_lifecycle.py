"""A Task is created in a project, started, ended, archived and deleted."""

from __future__ import annotations

import pytest

from autoinstrument.clearml_api.projects import Projects
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from tests.clearml_server import ClearMLServer, Fault

BODY = {"name": "one", "type": "training"}


def test_from_beginning_to_end(server: ClearMLServer, tasks: Tasks) -> None:
    task = tasks.create("folder/project", BODY)
    assert server.task(task.id)["status"] == "created"
    assert server.project_name(server.task(task.id)["project"]) == "folder/project"
    assert task.url.startswith(server.web_url)
    tasks.start(task)
    assert server.task(task.id)["status"] == "in_progress"
    tasks.finish(task, "failed", "why", "how")
    found = server.task(task.id)
    assert (found["status"], found["status_reason"], found["status_message"]) == ("failed", "why", "how")
    tasks.start(task)
    assert server.task(task.id)["status"] == "in_progress"
    tasks.archive(task, True)
    assert "archived" in server.task(task.id)["system_tags"]
    tasks.archive(task, False)
    assert "archived" not in server.task(task.id)["system_tags"]
    tasks.delete(task)
    assert server.tasks == []


def test_a_server_is_well_if_it_takes_a_ping_after_a_while(server: ClearMLServer, tasks: Tasks) -> None:
    task = tasks.create("project", BODY)
    server.clear_requests()
    tasks.confirm_well(task, 0.01)
    assert [request.endpoint for request in server.requests] == ["tasks.ping"]


def test_a_project_is_looked_for_once(server: ClearMLServer, session: Session) -> None:
    projects = Projects(session)
    first = projects.id_of("pro.ject")
    server.clear_requests()
    assert projects.id_of("pro.ject") == first
    assert server.requests == []
    assert Projects(session).id_of("pro.ject") == first
    assert Projects(session).id_of("proXject") != first, "a name is no pattern"


def test_a_project_that_another_process_created_meanwhile(
    server: ClearMLServer, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Projects(session).id_of("project")
    looked: list[str] = []
    real = Projects.find

    def find(self: Projects, name: str) -> str:
        looked.append(name)
        return real(self, name) if len(looked) > 1 else ""  # it was not there yet

    monkeypatch.setattr(Projects, "find", find)
    assert Projects(session).id_of("project") == first


def test_another_refusal_of_a_project_is_an_error(server: ClearMLServer, session: Session) -> None:
    server.faults.add(Fault("projects.create", status=400))
    with pytest.raises(Exception, match=r"projects\.create: 400"):
        Projects(session).id_of("project")
