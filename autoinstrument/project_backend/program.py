"""Run an MLflow project's entry point under a ClearML agent: the program of a Task that the backend has queued.

The parameters are those of the Task's section `Args`, which a person may have changed. The command is a shell command,
and the programs that it starts find the run by MLflow's own variables, as under `mlflow run`. The first time, that is
the run that was made when the project was queued. A clone, and a Task that was reset, begin a new one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from autoinstrument.agent.process_agent import existing
from autoinstrument.clone_run import reader_process
from autoinstrument.clone_run.start import take_settings
from autoinstrument.clone_run.task_description import TaskDescription, from_text, inherited
from autoinstrument.guard import guard, own_calls
from autoinstrument.mlflow_store import describe
from autoinstrument.mlflow_store.workspaces import active

_KILLED = {128 + number for number in (signal.SIGINT, signal.SIGTERM, 9)}
"""Exit codes of a shell whose command was stopped from outside: an agent that stops a Task kills this process last."""
_ENDED = ("FINISHED", "FAILED", "KILLED")


def main() -> int:
    """Run the entry point that the command line names; return the exit code of its command."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m autoinstrument.project_backend ENTRY_POINT")
    task = _task()
    take_settings(task.get("settings", {}))  # the start-up hook does not, if the agent is off
    parameters = task.get("sections", {}).get("Args", {})
    return _run(sys.argv[1], parameters, task.get("continues", ""))


def _task() -> TaskDescription:
    """Return the Task that the agent runs.

    Raises:
        SystemExit: there is none, or it cannot be read; the defaults of the parameters are not what was asked for.
    """
    task_id = os.environ.get("CLEARML_TASK_ID") or os.environ.get("TRAINS_TASK_ID") or ""
    found = inherited()
    if task_id and (found is None or found["task"] != task_id):
        found = from_text(reader_process.read(task_id))
    if not task_id or found is None:
        raise SystemExit(f"the Task {task_id or 'of a ClearML agent'} cannot be read: its parameters are not known")
    return found


def _run(entry_point: str, parameters: dict[str, str], run_id: str) -> int:
    from mlflow.projects.utils import get_entry_point_command, get_or_create_run, get_run_env_vars, load_project
    from mlflow.tracking import MlflowClient

    client, folder = MlflowClient(), str(Path.cwd())
    project = load_project(folder)
    if run_id:
        run = _continued(client, run_id)
    else:
        run = get_or_create_run(None, folder, _experiment_id(), folder, None, entry_point, parameters)
        client.set_tag(run.info.run_id, "mlflow.project.backend", "clearml")
    run_id = run.info.run_id
    with tempfile.TemporaryDirectory(prefix="mlflow-project-") as downloads:
        command = " && ".join(get_entry_point_command(project, entry_point, parameters, downloads))
        print(f"=== Running command {command!r} in run {run_id} ===", flush=True)  # noqa: T201  (for the Task's console)
        shell = ["cmd", "/c"] if sys.platform == "win32" else ["bash", "-c"]
        environment = {**os.environ, **get_run_env_vars(run_id, run.info.experiment_id), "PATH": _path()}
        code = subprocess.run([*shell, command], cwd=folder, env=environment, check=False).returncode
    code = code if code >= 0 else 128 - code  # as a shell reports a signal
    _end(client, run_id, "KILLED" if code in _KILLED else "FAILED" if code else "FINISHED")
    return code


def _continued(client: Any, run_id: str) -> Any:
    """Set the run running that was made when the project was queued, and return it; this process owns it now."""
    with own_calls():
        client.update_run(run_id, status="RUNNING")
        run = client.get_run(run_id)
    with guard("continuing a run"):
        if (agent := existing()) is not None:
            from mlflow import get_tracking_uri

            uri, workspace = get_tracking_uri(), active()
            make = describe.started(run, uri, workspace, resumed=True, owned=True)
            agent.run_started(run_id, make, tracking_uri=uri, workspace=workspace, again=True)
    return run


def _end(client: Any, run_id: str, status: str) -> None:
    """End a run that the command has left open, or not used at all."""
    if client.get_run(run_id).info.status not in _ENDED:
        client.set_terminated(run_id, status)


def _experiment_id() -> str:
    """Return the experiment of a new run: the one that the variables name, which is made if there is none."""
    given, name = os.environ.get("MLFLOW_EXPERIMENT_ID"), os.environ.get("MLFLOW_EXPERIMENT_NAME")
    if given or not name:
        return given or "0"
    from mlflow import set_experiment

    return str(set_experiment(name).experiment_id)


def _path() -> str:
    """Return PATH with this interpreter's folder first: an agent need not have activated the environment."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
