"""Tasks are put into queues, moved and taken out; a queue without an agent is known as one."""

from __future__ import annotations

import pytest

from autoinstrument.clearml_api.errors import ClearMLError
from autoinstrument.clearml_api.queues import Queues
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Task, Tasks
from tests.clearml_server import ClearMLServer, Fault

BODY = {"name": "one", "type": "training"}


def test_queued_moved_and_taken_out(server: ClearMLServer, session: Session, tasks: Tasks) -> None:
    queues, completed = Queues(session), list[Task]()
    first, queue = queues.create_queued(tasks, "gpu", "project", BODY)
    second, same = queues.create_queued(tasks, "gpu", "project", BODY, completed.append)
    assert (same, completed) == (queue, [second])
    queues.move_to_front(second, queue)
    entries = session.call("queues.get_by_id", queue=queue)["queue"]["entries"]
    assert [entry["task"] for entry in entries] == [second.id, first.id]
    queues.take_out(first.id)
    assert server.task(first.id)["status"] == "created"
    queues.move_to_front(first, queue)  # an agent may have taken it
    assert not queues.has_agent(queue)
    session.call("workers.register", worker="a:0", queues=[queue])
    assert queues.has_agent(queue)


def test_the_default_queue(session: Session, tasks: Tasks) -> None:
    _, queue = Queues(session).create_queued(tasks, "", "project", BODY)
    assert session.call("queues.get_by_id", queue=queue)["queue"]["name"] == "default"


def test_a_refusal_leaves_no_task(server: ClearMLServer, session: Session, tasks: Tasks) -> None:
    server.faults.add(Fault("tasks.enqueue", status=413))
    with pytest.raises(ClearMLError):
        Queues(session).create_queued(tasks, "gpu", "project", BODY)
    assert not server.tasks
