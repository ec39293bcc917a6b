"""Names of projects and Tasks: the user's templates, filled in and made acceptable to ClearML."""

from __future__ import annotations

import re
from pathlib import PurePath

from autoinstrument.clearml_api import storable
from autoinstrument.mlflow_store.urls import DEFAULT_WORKSPACE
from autoinstrument.records import ProcessStarted, RunStarted
from autoinstrument.settings import Settings

_SHORTEST = 3
"""ClearML refuses shorter names, also for each segment of a project's path (400/800)."""
_UNKNOWN = ("\ue000" * _SHORTEST, "\ue001" * _SHORTEST)
"""Stand for a user and a script that are not known; these characters have no meaning of their own (Unicode)."""


def project_name(settings: Settings, run: RunStarted, process: ProcessStarted | None) -> str:
    """Return the ClearML project of a run; slashes in the experiment's name make nested projects."""
    user = run.tags.get("mlflow.user") or (process.user if process else "")
    return _project(settings, run, user, _script(run, process))


def project_after_renaming(settings: Settings, run: RunStarted, former: str, held: str) -> str:
    """Return the project of a Task whose run's experiment was renamed; "" if the Task stays where it is.

    It stays if the template has no `{experiment}`, and in a project that the template does not give: a person has moved
    it. Of the template's user and script, which only the journal may know, the project's own name is believed.

    Args:
        settings: the Task's own.
        run: the run, with the present name of its experiment.
        former: the experiment's name by which the project was named.
        held: name of the Task's project.
    """
    if "{experiment}" not in settings.project:
        return ""
    before = run._replace(experiment_name=former)
    if project_name(settings, before, None) == held:
        return project_name(settings, run, None)
    pattern = re.escape(_project(settings, before, *_UNKNOWN))
    for mark, name in zip(_UNKNOWN, ("user", "script"), strict=True):
        pattern = pattern.replace(mark, f"(?P<{name}>.+)", 1).replace(mark, f"(?P={name})")
    found = re.fullmatch(pattern, held)
    if not found:
        return ""
    known = found.groupdict("")
    return _project(settings, run, known.get("user", ""), known.get("script", ""))


def _project(settings: Settings, run: RunStarted, user: str, script: str) -> str:
    name = settings.project.format(
        experiment=run.experiment_name, user=user, script=script, workspace=run.workspace or DEFAULT_WORKSPACE
    )
    segments = [acceptable(segment) for segment in name.split("/") if segment.strip()]
    return "/".join(segments[:9]) or "MLflow"  # projects nest ten deep at most, and `.reports` takes one level


def task_name(settings: Settings, run: RunStarted, process: ProcessStarted | None) -> str:
    """Return the name of the run's Task."""
    name = settings.task.format(
        run_name=run.run_name or run.run_id,
        run_id=run.run_id,
        experiment=run.experiment_name,
        script=_script(run, process),
    )
    return acceptable(name)


def acceptable(name: str) -> str:
    """Return the name in a form that ClearML takes: stripped, at least three characters, no control characters."""
    name = storable.text(re.sub(r"[\x00-\x1f]+", " ", name)).strip()
    return name.ljust(_SHORTEST, "_")


def _script(run: RunStarted, process: ProcessStarted | None) -> str:
    source = (process.main_module or process.main_path) if process else run.tags.get("mlflow.source.name", "")
    return PurePath(source).stem if "/" in source or source.endswith(".py") else source
