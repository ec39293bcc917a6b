"""MLflow's way in: `mlflow run --backend clearml`, by the entry point `mlflow.project_backend` of this package.

MLflow imports this module only if that backend is asked for. The process that queues a project may be a notebook or a
training script: it does not import clearml, and none of the run that it makes for the project is mirrored in it.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

from mlflow.exceptions import ExecutionException
from mlflow.projects.backend.abstract_backend import AbstractBackend
from mlflow.projects.utils import fetch_and_validate_project, get_or_create_run, load_project
from mlflow.tracking import MlflowClient
from mlflow.version import VERSION

from autoinstrument.agent.process_agent import existing
from autoinstrument.guard import logger, own_calls
from autoinstrument.mlflow_store.describe import describe
from autoinstrument.mlflow_store.link_tags import LIVE, STATE, TASK_ID, TASK_URL
from autoinstrument.mlflow_store.workspaces import active
from autoinstrument.project_backend.backend_config import BackendConfig, backend_config_of
from autoinstrument.project_backend.environments import ProjectEnvironment, environment_of, with_mlflow
from autoinstrument.project_backend.submission import ClearMLSideError, NoAnswerError, Submission, ask, import_path
from autoinstrument.project_backend.submitted_run import ClearMLSubmittedRun
from autoinstrument.records import to_json
from autoinstrument.scrubber import is_secret


class ClearMLBackend(AbstractBackend):  # type: ignore[misc]
    """Queues a project's entry point as a ClearML Task, which an agent runs."""

    def run(
        self,
        project_uri: str,
        entry_point: str,
        params: dict[str, Any] | None,
        version: str | None,
        backend_config: dict[str, Any],
        tracking_uri: str,
        experiment_id: str,
    ) -> ClearMLSubmittedRun:
        """Make the project's run in MLflow and queue its Task; the agent's process continues this run.

        Args:
            project_uri: a folder, or a Git repository, as MLflow takes them.
            entry_point: its name in MLproject, or a file.
            params: its parameters; the others have their defaults.
            version: a commit or branch of a Git repository.
            backend_config: see `BackendConfig`.
            tracking_uri: where the run is made.
            experiment_id: its experiment.

        Raises:
            mlflow.exceptions.ExecutionException: nothing was queued, and a run that had been made by then is FAILED; or
                the configuration says to wait, and the Task did not succeed.
        """
        params = {str(name): value for name, value in (params or {}).items()}
        folder = Path(fetch_and_validate_project(project_uri, version, entry_point, params))
        project = load_project(str(folder))
        entry = project.get_entry_point(entry_point)
        if entry is None:
            raise ExecutionException("a Databricks Spark job can only be run by the backend databricks")
        try:
            config = backend_config_of(backend_config)
            environment = _environment(config, project, folder)
        except ValueError as error:
            raise ExecutionException(str(error)) from error
        parameters = _parameters(entry, params)
        with own_calls():
            run = get_or_create_run(None, project_uri, experiment_id, str(folder), version, entry_point, params)
        run_id, client = run.info.run_id, MlflowClient(tracking_uri)
        if (agent := existing()) is not None:
            agent.leave_alone(run_id)
        try:
            with own_calls():
                job = _submission(client, run_id, tracking_uri, folder, entry_point, parameters, config, environment)
            task = ask("submit", job)
        except BaseException as error:
            if not isinstance(error, ClearMLSideError) or isinstance(error, NoAnswerError):
                with contextlib.suppress(ClearMLSideError):
                    ask("withdraw", {"run": run_id})
            with own_calls():
                client.set_terminated(run_id, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            if isinstance(error, ClearMLSideError):
                raise ExecutionException(f"nothing was queued: {error}") from error
            raise
        with own_calls():
            for name, value in ((TASK_ID, task["task"]), (TASK_URL, task["url"]), (STATE, LIVE)):
                client.set_tag(run_id, name, value)
        for warning in task["warnings"]:
            logger().warning("%s", warning)
        logger().info("run %s is queued: %s", run_id, task["url"])
        submitted = ClearMLSubmittedRun(run_id, task["task"], task["url"], tracking_uri)
        if config.wait:
            _wait(submitted)
        return submitted


def _wait(submitted: ClearMLSubmittedRun) -> None:
    try:
        if not submitted.wait():
            raise ExecutionException(f"Run (ID '{submitted.run_id}') failed: {submitted.task_url}")
    except KeyboardInterrupt:
        submitted.cancel()
        raise


def _environment(config: BackendConfig, project: Any, folder: Path) -> ProjectEnvironment:
    """Return the environment of a project, with what the backend configuration says instead.

    Raises:
        ValueError: it cannot be read.
    """
    found = ProjectEnvironment()
    if not config.uses_local_environment:
        found = environment_of(project.env_type, project.env_config_path, project.docker_env, folder)
    if config.packages is not None:
        found = found._replace(pip="\n".join(config.packages), conda="")
    if found.pip is not None:
        # An image has a release of MLflow already, which must not be replaced.
        mlflow = "" if found.image else VERSION
        found = found._replace(
            pip=with_mlflow(found.pip, mlflow), conda=found.conda and with_mlflow(found.conda, mlflow)
        )
    return found._replace(image=config.container or found.image)


def _parameters(entry: Any, given: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return name, value and type of an entry point's parameters, and of those that MLproject does not list.

    Raises:
        mlflow.exceptions.ExecutionException: one is a secret, which must not be kept on the Task.
    """
    declared = entry.parameters
    values = {**{name: one.default for name, one in declared.items()}, **given}
    secret = [name for name, value in values.items() if is_secret(name) and value]
    if secret:
        raise ExecutionException(
            f"the parameter {secret[0]!r} is a secret, which must not travel: "
            "have the script read it from a variable, and set that on the agent's machine"
        )
    return [(name, str(value), declared[name].type if name in declared else "") for name, value in values.items()]


def _submission(
    client: Any,
    run_id: str,
    tracking_uri: str,
    folder: Path,
    entry_point: str,
    parameters: list[tuple[str, str, str]],
    config: BackendConfig,
    environment: ProjectEnvironment,
) -> Submission:
    # MLflow's pages show it as scheduled; the agent's process sets it running.
    client.update_run(run_id, status="SCHEDULED")
    run = client.get_run(run_id)
    experiment = client.get_experiment(run.info.experiment_id)
    record = describe(run, tracking_uri, active(), experiment_name=experiment.name, resumed=False, owned=True)
    parent = record.parent_run_id and client.get_run(record.parent_run_id).data.tags.get(TASK_ID, "")
    return {
        "run": to_json(record),
        "folder": str(folder),
        "sys_path": import_path(),
        "entry_point": entry_point,
        "parameters": parameters,
        "python": environment.python or "{}.{}.{}".format(*sys.version_info[:3]),
        "pip": environment.pip,
        "conda": environment.conda,
        "image": environment.image,
        "docker_args": [*environment.docker_args, *config.docker_args],
        "parent": parent,
        "queue": config.queue,
        "project": config.project,
        "tags": config.tags,
        "is_urgent": config.priority == "high",
    }
