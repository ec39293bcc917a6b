"""Compare a run with its Task: what `verify` says, in words for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from autoinstrument.clearml_api.tasks import Tasks, is_adopted, run_of
from autoinstrument.mirror import mapping
from autoinstrument.mirror.mapping import artifact_entries, model_fields, pictures
from autoinstrument.mirror.mapping.run_status import of_run
from autoinstrument.mirror.parts.scalars import ScalarsPart
from autoinstrument.mirror.rejections import Rejections
from autoinstrument.mlflow_store.artifacts import ArtifactStore
from autoinstrument.mlflow_store.link_tags import STATE, TASK_ID
from autoinstrument.mlflow_store.metric_history import History
from autoinstrument.mlflow_store.run_data import read_run
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import (
    ArtifactLogged,
    ModelsLogged,
    ParamsLogged,
    RunEnded,
    RunStarted,
)
from autoinstrument.settings import Settings

_MOST = 10
"""Names that one line lists."""


class Difference(NamedTuple):
    """One thing that is other in the Task than in the run.

    Attributes:
        what: "task", "link", "parameter", "tag", "metric", "artifact", "model", "name", "note" or "status".
        detail: one line.
    """

    what: str
    detail: str


def differences(stored: StoredRun, settings: Settings, tasks: Tasks) -> Iterator[Difference]:
    """Yield what differs between a run of the store and its Task; a deleted run takes no tags, and is archived.

    Raises:
        mlflow.exceptions.MlflowException: the store does not answer, or has no such run.
        ClearMLError: the server does not answer.
    """
    run_id, deleted = stored.run.run_id, stored.deleted
    linked = stored.run.tags.get(TASK_ID, "")
    task_id = tasks.of_run(run_id, linked)
    task = tasks.get(task_id) if task_id else {}
    if not task:
        yield Difference("task", _why_none(linked, run_id, tasks))
        return
    settings = mapping.settings_of(task, settings)
    run, records = read_run(stored.run.tracking_uri, run_id, artifacts=settings.artifacts != "off")
    held = {
        section: {name: str(item.get("value")) for name, item in items.items()}
        for section, items in (task.get("hyperparams") or {}).items()
    }
    ended = False
    by_curve = dict[tuple[str, str], list[History]]()
    yield from _of_sections("tag", _values(mapping.tags(run.tags)), held.get(mapping.TAGS_SECTION, {}), exact=True)
    yield from of_head(stored, task, settings)
    for record in records:
        if isinstance(record, ParamsLogged):
            yield from _of_sections(
                "parameter", _values(mapping.parameters(record.params)), held.get(mapping.SECTION, {}), exact=False
            )
        elif isinstance(record, History):
            by_curve.setdefault(mapping.curve(record.key), []).append(record)  # `a` and `a/a` are one
        elif isinstance(record, ArtifactLogged):
            if not pictures.is_thumbnail(record.path):
                yield from _of_artifact(run, record, task, settings)
        elif isinstance(record, ModelsLogged):
            yield from _of_models(record, task, settings, tasks)
        elif isinstance(record, RunEnded):
            ended = True
            if not is_adopted(task):
                yield from _of_end(record, task)
    yield from _of_curves(by_curve, str(task["id"]), ScalarsPart(tasks, Rejections(run_id)))
    if not (task.get("parent") or is_adopted(task)) and (parent := _task_of(stored.run.parent_run_id, tasks)):
        yield Difference("link", f"it has no parent, though the run's parent has the Task {parent}")
    if not deleted and linked != task["id"]:
        yield Difference("link", f"the run's tag {TASK_ID} is {linked!r}, its Task is {task['id']}")
    elif ended and not deleted and run.tags.get(STATE) != "synced":
        yield Difference("link", f"the run's tag {STATE} is {run.tags.get(STATE, '')!r}, though it has ended")
    if not deleted:
        wanted = mapping.origin(task)
        yield from _listed("link", "tags missing", [tag for tag, value in wanted.items() if run.tags.get(tag) != value])


def _why_none(linked: str, run_id: str, tasks: Tasks) -> str:
    """Return why a run has no Task, and what makes one, given the Task that its tag names ("" for none)."""
    task = tasks.get(linked) if linked else {}
    owner = run_of(task)
    if not linked:
        return "there is no Task"
    if not task:
        return f"the Task {linked} is gone"
    what = f"is the Task of run {owner} now" if owner != run_id else "waits to be run again"
    return f"the Task {linked} was reset and {what}; `autoinstrument sync --run {run_id}` makes a new one for this run"


def of_head(stored: StoredRun, task: Mapping[str, Any], settings: Settings) -> Iterator[Difference]:
    """Yield what differs in a Task's name, comment, archiving, and what leads back to the run.

    Without a note in MLflow the comment is whoever's: a person may have written one. Those of an adopted Task are its
    owner's, who may be at work on it: archiving would stop it.
    """
    run, is_theirs = stored.run, is_adopted(task)
    if "{script}" not in settings.task and not is_theirs:  # else only the capture of a live run knew the script
        wanted = mapping.task_name(settings, run, None)
        if task.get("name") != wanted:
            yield Difference("name", f"{task.get('name')!r} instead of {wanted!r}")
    note = mapping.comment(run.tags).strip()  # ClearML strips what it keeps
    comment = (task.get("comment") or "").strip()
    if note and comment != note and not (comment and is_theirs):
        yield Difference("note", "the comment is other than the run's note")
    is_archived = "archived" in (task.get("system_tags") or [])
    if is_archived and not stored.deleted:
        yield Difference("status", "archived, though the run is not deleted")
    elif stored.deleted and not (is_archived or (is_theirs and task.get("status") == "in_progress")):
        yield Difference("status", "the run is deleted, the Task is not archived")
    properties = _values(mapping.properties(run))
    held = (task.get("hyperparams") or {}).get("properties") or {}
    if (held.get("mlflow_run_id") or {}).get("value") != properties["mlflow_run_id"]:
        yield Difference("link", "the Task has no property mlflow_run_id of this run")


def _task_of(run_id: str, tasks: Tasks) -> str:
    return tasks.of_run(run_id) if run_id else ""


def _of_sections(what: str, wanted: Mapping[str, str], held: Mapping[str, str], *, exact: bool) -> Iterator[Difference]:
    yield from _listed(what, "missing", [name for name in wanted if name not in held])
    yield from _listed(what, "other", [name for name in wanted if name in held and held[name] != wanted[name]])
    if exact:
        yield from _listed(what, "no longer in MLflow", [name for name in held if name not in wanted])


def _of_curves(
    by_curve: Mapping[tuple[str, str], list[History]], task_id: str, curves: ScalarsPart
) -> Iterator[Difference]:
    """Yield metrics whose curves are other than what MLflow's points make; values are compared as 32-bit floats."""
    for (title, series), histories in by_curve.items():
        compared = curves.compare(histories, task_id)
        name = title if title == series else f"{title}/{series}"
        if compared.missing:
            first = f"the first at step {compared.first_missing}"
            yield Difference("metric", f"{name}: {compared.missing} points are missing, {first}")
        if compared.other:
            yield Difference("metric", f"{name}: {compared.other} points have other values")


def _of_artifact(
    run: RunStarted, record: ArtifactLogged, task: Mapping[str, Any], settings: Settings
) -> Iterator[Difference]:
    by_path: dict[str, Mapping[str, Any]] = {
        item[1]: entry
        for entry in (task.get("execution") or {}).get("artifacts") or []
        for item in entry.get("display_data") or []
        if item[:1] == [artifact_entries.PATH]
    }
    path = artifact_entries.shown(record.path)
    held = by_path.get(path)
    left_out = str(((task.get("configuration") or {}).get(mapping.FILES_LEFT_OUT) or {}).get("value", ""))
    if held is None:
        if f"{path}: " not in left_out:
            yield Difference("artifact", f"{path}: missing")
    elif record.size >= 0 and held.get("content_size") != record.size:
        yield Difference("artifact", f"{path}: {held.get('content_size')} bytes instead of {record.size}")
    elif settings.artifacts == "link" and held.get("uri") != artifact_entries.address(run, record.path):
        yield Difference("artifact", f"{path}: links to {held.get('uri')}")
    elif not ArtifactStore(run).has_digest(record.path, record.size, held.get("hash") or ""):
        yield Difference("artifact", f"{path}: other content")


def _of_models(logged: ModelsLogged, task: Mapping[str, Any], settings: Settings, tasks: Tasks) -> Iterator[Difference]:
    if not logged.models:
        return
    held = tasks.models.of_task(str(task["id"]))
    linked = [entry.get("model") for entry in (task.get("models") or {}).get("output") or []]
    for model in logged.models:
        wanted = model_fields.wanted(model, logged.run_id)
        found = next((one for one in held if model_fields.is_same(one, wanted)), None)
        if found is None or found["id"] not in linked:
            yield Difference("model", f"{wanted.name}: missing")
            continue
        if model_fields.is_left_alone(found, model):
            continue
        copy = model_fields.copy_of(found, model)
        wanted = model_fields.wanted(model, logged.run_id, copy)
        if settings.artifacts == "upload" and model["revision"] and copy == model_fields.NO_COPY:
            yield Difference("model", f"{wanted.name}: not copied")
        if model_fields.edits(found, wanted) or model_fields.new_metadata(found, wanted):
            yield Difference("model", f"{wanted.name}: other name, address, tags, versions or aliases")


def _of_end(ended: RunEnded, task: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield a status that MLflow's does not explain; how a process died, the Task knows better."""
    wanted, status = of_run(ended).status, str(task.get("status"))
    if status in ("created", "queued", "in_progress") or (status == "completed" and wanted != "completed"):
        yield Difference("status", f"{status} instead of {wanted}")


def _values(items: list[dict[str, str]]) -> dict[str, str]:
    return {item["name"]: item["value"] for item in items}


def _listed(what: str, how: str, names: list[str]) -> Iterator[Difference]:
    if names:
        more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
        yield Difference(what, f"{how}: {', '.join(names[:_MOST])}{more}")
