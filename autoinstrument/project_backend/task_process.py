"""Queue a project's Task, follow it and stop it: the main program of a short-lived process, which prints JSON."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autoinstrument.capture.lock_files import lock_files_without_this_package
from autoinstrument.capture.queued_process import queued_process
from autoinstrument.capture.requirements import to_install
from autoinstrument.capture.script_section import script_of
from autoinstrument.clearml_api.errors import ClearMLError, RefusedError, UnavailableError
from autoinstrument.clearml_api.queues import Queues
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.task import awaited_run, awaiting
from autoinstrument.clearml_api.tasks import Task, Tasks
from autoinstrument.mirror.kinds.environment import arguments
from autoinstrument.mirror.mapping import links
from autoinstrument.mirror.mapping.hyperparameters import sections
from autoinstrument.mirror.mapping.names import project_name, task_name
from autoinstrument.mirror.mapping.task_settings import travelling
from autoinstrument.project_backend.submission import Answer, Submission
from autoinstrument.records import RunStarted, from_json
from autoinstrument.settings import SettingsError, read_settings

MODULE = "autoinstrument.project_backend"
"""The module that an agent runs."""
TAKEN_AWAY = "taken away"
"""Stands for the status of a Task that was deleted, or reset: what it runs next is another run."""
_ENDED = ("completed", "published", "closed", "failed", "stopped", TAKEN_AWAY)
_POLL_S = 2.0
_STOP_S = 60.0
"""How long an agent may take to stop a Task; it looks every few seconds."""


def main() -> None:
    """Run the action that standard input asks for; exit with a message if it fails."""
    action, content = json.loads(sys.stdin.read())
    try:
        print(json.dumps(_ACTIONS[action](Session(lean=True), content)))  # noqa: T201  (read by the process that asked)
    except (ClearMLError, SettingsError) as error:
        raise SystemExit(str(error)) from None


def submit(session: Session, job: Submission) -> Answer:
    """Make a project's Task and queue it.

    Returns:
        `task` and `url` of the Task, and `warnings`, lines for a person.

    Raises:
        ClearMLError: nothing was queued.
        SettingsError: a setting has a value that is not allowed.
    """
    settings, tasks, queues = read_settings(), Tasks(session), Queues(session)
    run = from_json(job["run"])
    assert isinstance(run, RunStarted)  # noqa: S101  (the process that asked is this package's own)
    folder, warnings = Path(job["folder"]), list[str]()
    process = queued_process(
        "module", module=MODULE, folder=folder, line=shlex.quote(job["entry_point"]), sys_path=job["sys_path"],
        python=job["python"],
    )  # fmt: skip
    script = script_of(process, tasks.capture_settings, warnings.append, folder=folder)
    comments = list(lock_files_without_this_package(folder))
    pip = to_install(job["pip"], process.sys_path, process.python, warnings.append, comments=comments)
    conda = to_install(job["conda"], process.sys_path, process.python) if job["conda"] else ""
    name = task_name(settings, run, None)
    body: dict[str, Any] = {
        "name": name,
        "type": "training",
        "tags": [links.TAG, *job["tags"]],
        "script": {**script._asdict(), "requirements": {"pip": pip, "conda": conda}},
        "hyperparams": sections(arguments(job["parameters"], {})),
        "configuration": {item["name"]: item for item in [travelling(settings, run)]},
        "execution": {"artifacts": links.link_artifact(run)},
        **tasks.configured_fields(),
    }
    if job["image"] or job["docker_args"]:
        body["container"] = {"image": job["image"], "arguments": shlex.join(job["docker_args"])}
    if job["parent"] and tasks.get(job["parent"]):  # it may have been deleted
        body["parent"] = job["parent"]

    def link(task: Task) -> None:
        tasks.set_hyperparameters(task, links.properties(run, task.id))
        tasks.add_runtime(task, awaiting(run.run_id, name))

    task, queue = queues.create_queued(
        tasks, job["queue"], job["project"] or project_name(settings, run, None), body, link
    )
    try:
        if job["is_urgent"]:
            queues.move_to_front(task, queue)
        if not queues.has_agent(queue):
            warnings.append(f"no agent serves the queue {job['queue'] or 'default'} now: the run waits for one")
    except ClearMLError:  # the Task is queued nevertheless
        pass
    return {"task": task.id, "url": task.url, "warnings": warnings}


def status(session: Session, content: dict[str, str]) -> Answer:
    """Return the `status` of a Task that was queued for a run, see `TAKEN_AWAY`.

    Raises:
        ClearMLError: the server does not answer.
    """
    task = Tasks(session).get(content["task"])
    is_own = bool(task) and awaited_run(task) == content["run"]
    return {"status": str(task.get("status") or "") if is_own else TAKEN_AWAY}


def wait(session: Session, content: dict[str, str]) -> Answer:
    """Wait until a Task has ended; return what `status` returns then.

    A server that does not answer is asked again. A Task that was only taken out of its queue may be queued again.

    Raises:
        ClearMLError: the server refuses to answer.
    """
    return _until(lambda: status(session, content), lambda answer: answer["status"] in _ENDED)


def cancel(session: Session, content: dict[str, str]) -> Answer:
    """Stop a Task, queued or running; return what `status` returns when it has ended.

    Raises:
        ClearMLError: the server does not answer.
    """
    tasks, queues = Tasks(session), Queues(session)
    task = tasks.find(content["task"], adopted=True)
    if task is None or status(session, content)["status"] in _ENDED:
        return status(session, content)
    if task.status in ("created", "queued"):
        queues.take_out(task.id)
        tasks.finish(task, "stopped", "mlflow", "cancelled by mlflow.projects")
        return status(session, content)
    try:
        tasks.stop(task)
    except RefusedError:  # it has ended meanwhile
        return status(session, content)
    until = time.monotonic() + _STOP_S
    answer = _until(
        lambda: status(session, content), lambda found: found["status"] in _ENDED or time.monotonic() > until
    )
    if answer["status"] not in _ENDED:  # its agent is gone
        tasks.finish(task, "stopped", "mlflow", "cancelled by mlflow.projects")
        return status(session, content)
    return answer


def withdraw(session: Session, content: dict[str, str]) -> Answer:
    """Delete the Task of a run whose `submit` was cut off, if there is one; return how many were `deleted`.

    Raises:
        ClearMLError: the server does not answer.
    """
    tasks = Tasks(session)
    found = [
        tasks.find(str(task["id"]), adopted=True) for task in tasks.of_runs([content["run"]]).get(content["run"], [])
    ]
    for task in filter(None, found):
        tasks.delete(task)
    return {"deleted": len(found)}


def _until(ask: Callable[[], Answer], is_over: Callable[[Answer], bool]) -> Answer:
    while True:
        try:
            answer = ask()
            if is_over(answer):
                return answer
        except UnavailableError:
            pass
        time.sleep(_POLL_S)


_ACTIONS: dict[str, Callable[[Session, Any], Answer]] = {
    "submit": submit, "status": status, "wait": wait, "cancel": cancel, "withdraw": withdraw,
}  # fmt: skip
