"""The project of a run's Task: it follows the run's experiment when that is renamed."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from autoinstrument.clearml_api import storable
from autoinstrument.clearml_api.tasks import EXPERIMENT, Task, Tasks, experiment_of
from autoinstrument.clone_run.settings import OBJECT, with_experiment
from autoinstrument.guard import logger
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.mapping.hyperparameters import PROPERTIES, hyperparameter
from autoinstrument.mirror.mapping.names import project_after_renaming
from autoinstrument.mirror.mapping.task_settings import settings_of


def follow_experiment(context: RunContext, task: Task) -> Task:
    """Bring a Task to the project of its experiment, if that has another name now; return it as it is then.

    The whole project is renamed if it holds nothing else, and the new name is free. Else the Task moves, with its
    models, and the project stays. The Task's own property, by which the rest of this package notices the new name,
    changes last, so that a sync that was cut off is repeated. An adopted Task's project is its owner's.

    Raises:
        ClearMLError: the server did not answer.
    """
    run, tasks = context.run, context.tasks
    name = storable.text(run.experiment_name)
    if task.adopted or not run.owned or storable.text(task.experiment) in ("", name):
        return task
    held, former = tasks.get(task.id), task.experiment
    project = tasks.projects.name_of(str(held.get("project") or ""))
    wanted = project_after_renaming(settings_of(held, context.settings), run, former, project)
    if wanted not in ("", project) and not _renamed(tasks, held, project, wanted):
        wanted_id = tasks.projects.id_of(wanted)
        if wanted_id != held["project"]:  # else another process has just renamed it
            task = tasks.move(task, held["project"], wanted_id)
            _report_move(former, name, project, wanted)
    _change_settings(tasks, task, held, former, run.experiment_name)
    tasks.set_hyperparameters(task, [hyperparameter(PROPERTIES, EXPERIMENT, name, "str")])
    return task._replace(experiment=name)


def _renamed(tasks: Tasks, task: Mapping[str, Any], project: str, wanted: str) -> bool:
    """Rename a Task's project if it holds nothing but Tasks of the same experiment and their models."""
    experiment, project_id = experiment_of(task), str(task["project"])
    if not experiment or not tasks.projects.may_rename(project, wanted):
        return False
    ids = set()
    for other in tasks.projects.tasks_in(project_id):
        if experiment_of(other) != experiment:
            return False
        ids.add(other["id"])
    if tasks.projects.has_subprojects(project):
        return False
    are_its_own = all(model.get("task") in ids for model in tasks.projects.models_in(project_id))
    return are_its_own and tasks.projects.rename(project_id, project, wanted)


def _change_settings(tasks: Tasks, task: Task, held: Mapping[str, Any], former: str, name: str) -> None:
    """Change the experiment in the settings that travel with a Task, else a clone's run would make the former one."""
    item = (held.get("configuration") or {}).get(OBJECT)
    text = str((item or {}).get("value") or "")
    if item and (changed := with_experiment(text, former, name)) != text:
        tasks.set_configuration(task, [{**item, "value": changed}])


@functools.lru_cache(maxsize=1000)  # once a process, not once a Task
def _report_move(former: str, name: str, project: str, wanted: str) -> None:
    logger().info(
        "experiment %r is called %r now: its Tasks move to the project %r; the project %r stays, because it holds "
        "others too, or because the new name was in use",
        former, name, wanted, project,
    )  # fmt: skip
