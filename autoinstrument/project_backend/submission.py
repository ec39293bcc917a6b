"""Messages between the process that queues a project and the short-lived process that talks to ClearML.

The process that queues it may be a notebook or a training script, which must not import clearml.
"""

from __future__ import annotations

import json
import sys
from typing import Any, TypedDict

from autoinstrument.transport import own_python

_CODE = "from autoinstrument.project_backend.task_process import main; main()"

Answer = dict[str, Any]


class Submission(TypedDict):
    """A project to queue; all values are JSON.

    Attributes:
        run: the MLflow run, a record `RunStarted` as JSON.
        folder: the project's folder.
        sys_path: where packages are installed here.
        entry_point: name of the entry point.
        parameters: name, value and MLproject's type of each.
        python: version of Python, as in "3.10" or "3.11.7".
        pip: requirements, None for all packages that are installed here.
        conda: the same for conda, "" for none.
        image: the container's image, "" for none.
        docker_args: words of `docker run`.
        parent: id of the parent Task, "" for none.
        queue, project, tags, is_urgent: see `BackendConfig`.
    """

    run: list[Any]
    folder: str
    sys_path: list[str]
    entry_point: str
    parameters: list[tuple[str, str, str]]
    python: str
    pip: str | None
    conda: str
    image: str
    docker_args: list[str]
    parent: str
    queue: str
    project: str
    tags: list[str]
    is_urgent: bool


class ClearMLSideError(Exception):
    """ClearML, or the process that talks to it, did not do what it was asked to; the text is for a person."""


class NoAnswerError(ClearMLSideError):
    """The process did not start, or did not answer in time: it may have done what it was asked to."""


def ask(action: str, content: Any, timeout_s: float | None = 120.0) -> Answer:
    """Run an action in the short-lived process.

    Args:
        action: name of a function of `task_process`.
        content: argument of that function, as JSON.
        timeout_s: seconds that the action may take, None for any time.

    Raises:
        ClearMLSideError: the action failed.
    """
    import subprocess

    try:
        done = own_python.run(_CODE, timeout_s=timeout_s, text=json.dumps([action, content]))
    except (OSError, subprocess.SubprocessError) as error:
        raise NoAnswerError(f"no answer from the process that talks to ClearML: {error}") from error
    last = done.stderr.strip().splitlines()[-1:]
    if done.returncode != 0:
        raise ClearMLSideError(last[0] if last else f"the process that talks to ClearML ended with {done.returncode}")
    answer: Answer = json.loads(done.stdout.splitlines()[-1])
    return answer


def import_path() -> list[str]:
    """Return the folders from which packages are imported here."""
    return [entry for entry in sys.path if entry]
