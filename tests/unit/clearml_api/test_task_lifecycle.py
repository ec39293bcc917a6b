"""A Task is created in a project, started, ended, archived and deleted."""

from __future__ import annotations

import pytest

from autoinstrument.clearml_api import projects
from autoinstrument.clearml_api.errors import RefusedError
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


def test_a_server_that_takes_a_ping_after_a_while_works(server: ClearMLServer, tasks: Tasks) -> None:
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
    assert Projects(session).id_of("proXject") != first, "a name is not a pattern"


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


def test_a_project_that_was_deleted_is_made_again(server: ClearMLServer, session: Session, tasks: Tasks) -> None:
    """The caller makes another attempt after a refusal."""
    first = tasks.create("project", BODY)
    session.call("projects.delete", project=server.task(first.id)["project"], force=True)
    with pytest.raises(RefusedError):
        tasks.create("project", BODY)
    assert server.project_name(server.task(tasks.create("project", BODY).id)["project"]) == "project"


def test_the_name_of_a_project_is_looked_up_again_after_a_while(
    server: ClearMLServer, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its experiment may have been renamed, and another one may have its name."""
    known = Projects(session)
    first = known.id_of("project")
    assert Projects(session).rename(first, "project", "renamed")
    assert known.id_of("project") == first
    monkeypatch.setattr(projects, "_KEPT_S", 0.0)
    known.forget("project")
    assert known.id_of("project") != first
    again = known.id_of("project")
    assert Projects(session).rename(again, "project", "renamed too")
    assert known.id_of("project") not in (first, again)
    assert known.name_of(first) == "renamed"


def test_another_refusal_of_a_project_is_an_error(server: ClearMLServer, session: Session) -> None:
    server.faults.add(Fault("projects.create", status=413))
    with pytest.raises(Exception, match=r"projects\.create: 413"):
        Projects(session).id_of("project")
