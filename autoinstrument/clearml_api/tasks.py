"""Write Tasks: every request about a Task that is ever sent, in the words of ClearML's API.

A Task is made in one request and started in a second one; nothing of the SDK's `Task` class is used in the training
process or here. Status rules and refusals are the server's: a finished Task takes events, tags and properties, but no
parameters and no artifacts, not even with force (API 2.34).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from autoinstrument.capture.script_section import DiffSettings
from autoinstrument.clearml_api import schema
from autoinstrument.clearml_api.errors import ClearMLError, RefusedError, TooLargeError, understood
from autoinstrument.clearml_api.models import Models
from autoinstrument.clearml_api.session import Session

Hyperparameter = dict[str, str]
"""A hyperparameter or configuration item: section (hyperparameters only), name, value, type."""

DEVELOPMENT = "development"
"""The system tag of what no agent has started; ours have it, and a clone loses it."""
ADOPTED = "mlflow_task_adopted"
"""Property of a Task that a run has taken over: the Task's own id. A clone has the property too, but another id."""
_PAGE = 10_000
_MOST_POINTS = 50_000_000
"""Points of one curve that are read back, 12 bytes each: a server may well send pages for ever."""
_NAME_OF_CLONE = "clone of "
"""How the names begin that ClearML gives: "Clone Of" on its pages (2.5), "Clone of" in the SDK (1.16 to 2.1)."""
_ALREADY_EXISTS = (400, 801)
_WRONG_STATUS = (400, 110)


class Task(NamedTuple):
    """A Task on the server.

    Attributes:
        adopted: the user's script or an agent made it: status and console are theirs, as are a name and a comment.
        points: how many points it held when it was found: (title, series) to the server's own count.
        artifacts: what artifacts it held when it was found, by key.
        status: what it was when it was found; "in_progress" if it was made here.
        output: where its owner wants artifacts to be uploaded to, "" for the configured place.
        run_id: the run that it led back to when it was found.
        parent: the Task that it had for a parent when it was found, "" for none.
        comment: what it had when it was found.
        name: what it was called when it was found.
    """

    id: str
    url: str
    adopted: bool
    points: dict[tuple[str, str], int]
    artifacts: dict[str, dict[str, Any]]
    status: str
    output: str
    run_id: str = ""
    parent: str = ""
    comment: str = ""
    name: str = ""

    @property
    def has_own_name(self) -> bool:
        """True where a person, a script or an optimiser has named it; a clone is named by ClearML's pages and SDK."""
        return self.adopted and not self.name.lower().startswith(_NAME_OF_CLONE)


@understood
class Tasks:
    """The Tasks of one server.

    Attributes:
        models: their models.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.models = Models(session)
        self._projects: dict[str, str] = {}

    def diff_settings(self) -> DiffSettings:
        """Return what ClearML's configuration says about the changes that a Task holds."""
        try:
            stored, from_remote = (
                str(self._session.setting(f"development.{name}")).lower()
                for name in ("store_uncommitted_code_diff", "store_code_diff_from_remote")
            )
        except ClearMLError:  # a broken configuration is reported where the session logs in
            return DiffSettings()
        return DiffSettings(stored=stored != "false", from_remote=from_remote == "true")

    def create(self, project: str, body: dict[str, Any]) -> Task:
        """Create a Task; it is not started.

        Args:
            project: its project's name; made where there is none.
            body: the other fields of `tasks.create`.

        Raises:
            ClearMLError: there is no Task.
        """
        project_id = self._project(project)
        task_id = str(self._session.call("tasks.create", project=project_id, **body)["id"])
        return Task(task_id, self._session.web_page(task_id, project_id), False, {}, {}, "in_progress", "")

    def start(self, task: Task) -> None:
        """Set a Task running, from whatever status.

        Raises:
            ClearMLError: the server did not take it.
        """
        self._session.call("tasks.started", task=task.id, force=True)

    def of_run(self, run_id: str, linked: str = "") -> str:
        """Return the id of a run's Task, "" for none: that to which the run is linked, else the oldest.

        Raises:
            ClearMLError: the server did not answer.
        """
        return str(self.chosen(run_id, linked, self.of_runs([run_id]).get(run_id, [])).get("id", ""))

    def chosen(self, run_id: str, linked: str, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return a run's Task of those `found` for it; where none was, the linked one if it is no other run's.

        Raises:
            ClearMLError: the linked one cannot be read.
        """
        for task in found:
            if task["id"] == linked:
                return task
        if found:
            return found[0]
        task = self.get(linked) if linked else {}
        return task if task and _is_of_run(task, run_id) else {}

    def of_runs(self, run_ids: Sequence[str], fields: Sequence[str] = ()) -> dict[str, list[dict[str, Any]]]:
        """Return `fields` of the Tasks that are each of some runs' own, the oldest first; a run may have none.

        A clone leads back to its origin's run too, until an agent runs it; it is a person's, and not the run's.

        Raises:
            ClearMLError: the server did not answer.
        """
        # `hyperparams.*` are list fields of a Task query (clearml-server 1.x and 2.x; the web UI filters by them). A
        # server that does not know them answers with any Tasks.
        properties = [] if "hyperparams" in fields else ["hyperparams.properties"]
        answer = self._session.call(
            "tasks.get_all",
            **{"hyperparams.properties.mlflow_run_id.value": list(run_ids)},
            tags=["mlflow"],
            only_fields=list(dict.fromkeys(["id", "status", "system_tags", *properties, *fields])),
            order_by=["created"],
            page_size=10 * len(run_ids),
        )
        found: dict[str, list[dict[str, Any]]] = {}
        for task in map(schema.task, answer.get("tasks") or []):
            run_id = run_of(task)
            if run_id in run_ids and _is_of_run(task, run_id):
                found.setdefault(run_id, []).append(task)
        return found

    def add_configuration(self, tasks: Sequence[dict[str, Any]], name: str) -> None:
        """Add one configuration object, of those that have it, to what is known of some Tasks.

        Raises:
            ClearMLError: the server did not answer.
        """
        if not tasks:
            return
        by_id = {str(task["id"]): task for task in tasks}
        answer = self._session.call("tasks.get_configurations", tasks=list(by_id), names=[name])
        for found in answer.get("configurations") or []:
            if task := by_id.get(found["task"]):
                task["configuration"] = {item["name"]: item for item in found["configuration"]}
                schema.task(task)

    def get(self, task_id: str) -> dict[str, Any]:
        """Return a Task as the server holds it, an empty dictionary where there is none.

        Raises:
            ClearMLError: it cannot be read.
        """
        try:
            return self._read(task_id)
        except RefusedError as error:
            if error.is_gone:
                return {}
            raise

    def archive(self, task: Task, archived: bool) -> None:
        """Archive a Task or take it back.

        Raises:
            ClearMLError: the server did not take it.
        """
        self._session.call("tasks.archive_many" if archived else "tasks.unarchive_many", ids=[task.id])

    def find(self, task_id: str, *, adopted: bool, run_id: str = "") -> Task | None:
        """Return a Task that exists, None where it is gone, or not the run's own.

        Args:
            task_id: its id.
            adopted: it is known to be so; else the Task itself says it.
            run_id: the run whose own it has to be, "" for any.

        Raises:
            ClearMLError: it cannot be read.
        """
        found = self.get(task_id)
        if not found or (run_id and not _is_of_run(found, run_id)):
            return None
        return Task(
            task_id,
            self._session.web_page(task_id, str(found.get("project") or "*")),
            adopted or is_adopted(found),
            _points(found),
            _artifacts(found),
            str(found.get("status") or ""),
            str((found.get("output") or {}).get("destination") or ""),
            run_of(found),
            str(found.get("parent") or ""),
            str(found.get("comment") or ""),
            str(found.get("name") or ""),
        )

    def curve_points(self, task_id: str, title: str, series: str) -> Iterator[tuple[int, float]]:
        """Yield the points of a curve by iteration, with their values as the server keeps them (32 bits).

        Raises:
            ClearMLError: they cannot be read.
        """
        more: dict[str, Any] = {}
        count = 0
        while count < _MOST_POINTS:
            answer = self._session.call(
                "events.scalar_metrics_iter_raw",
                task=task_id,
                metric={"metric": title, "variants": [series]},
                batch_size=_PAGE,
                **more,
            )
            points = (answer.get("variants") or {}).get(series) or {"iter": [], "y": []}
            yield from zip(map(int, points["iter"]), map(float, points["y"]), strict=True)
            if not points["iter"] or not answer.get("returned") or not answer.get("scroll_id"):
                return
            count += len(points["iter"])
            more = {"scroll_id": answer["scroll_id"]}
        raise TooLargeError(f"the curve {title[:100]}/{series[:100]} has over {_MOST_POINTS} points, and is not read")

    def add_tag(self, task: Task, tag: str) -> None:
        """Add a tag; nothing where the Task has it.

        Raises:
            ClearMLError: the server did not take it.
        """
        self._session.call("tasks.update_tags", ids=[task.id], add_tags=[tag])

    def add_artifacts(self, task: Task, artifacts: list[dict[str, Any]]) -> None:
        """Add artifacts or replace those of the same key.

        Raises:
            ClearMLError: the server did not take them.
        """
        if not artifacts:
            return
        try:
            self._session.call("tasks.add_or_update_artifacts", task=task.id, artifacts=artifacts, force=True)
        except RefusedError as error:
            if error.code != _WRONG_STATUS:
                raise
            execution = self._read(task.id).get("execution") or {}
            new = {_identity(artifact) for artifact in artifacts}
            others = [other for other in execution.get("artifacts") or [] if _identity(other) not in new]
            self.edit(task, execution={**execution, "artifacts": [*others, *artifacts]})

    def set_configuration(self, task: Task, items: list[Hyperparameter]) -> None:
        """Add configuration objects or replace them; others stay.

        Raises:
            ClearMLError: the server did not take them.
        """
        if not items:
            return
        try:
            self._session.call("tasks.edit_configuration", task=task.id, configuration=items, force=True)
        except RefusedError as error:
            if error.code != _WRONG_STATUS:
                raise
            configuration = self._read(task.id).get("configuration") or {}
            self.edit(task, configuration={**configuration, **{item["name"]: item for item in items}})

    def set_hyperparameters(self, task: Task, items: list[Hyperparameter]) -> None:
        """Add hyperparameters or change them; others stay.

        Raises:
            ClearMLError: the server did not take them.
        """
        if not items:
            return
        try:
            self._session.call("tasks.edit_hyper_params", task=task.id, hyperparams=items, force=True)
        except RefusedError as error:
            # A finished Task takes no single parameter, but it takes all of them in one `edit` (API 2.34).
            if error.code != _WRONG_STATUS:
                raise
            sections = self._read(task.id).get("hyperparams") or {}
            for item in items:
                sections.setdefault(item["section"], {})[item["name"]] = item
            self.edit(task, hyperparams=sections)

    def delete_hyperparameters(self, task: Task, section: str, names: Collection[str]) -> None:
        """Delete hyperparameters of a section; those that are not there are passed over.

        Raises:
            ClearMLError: the server did not take it.
        """
        items = [{"section": section, "name": name} for name in names]
        try:
            self._session.call("tasks.delete_hyper_params", task=task.id, hyperparams=items, force=True)
        except RefusedError as error:
            if error.code != _WRONG_STATUS:
                raise
            sections = self._read(task.id).get("hyperparams") or {}
            kept = {name: item for name, item in sections.get(section, {}).items() if name not in names}
            self.edit(task, hyperparams={**sections, section: kept})

    def delete_sections(self, task: Task, sections: Collection[str], properties: Collection[str] = ()) -> None:
        """Delete sections of hyperparameters, and user properties; those that are not there are passed over.

        Raises:
            ClearMLError: the server did not take it.
        """
        held = self._read(task.id).get("hyperparams") or {}
        kept = {name: dict(items) for name, items in held.items() if name not in sections}
        for name in properties:
            kept.get("properties", {}).pop(name, None)
        if kept != held:
            self.edit(task, hyperparams=kept)

    def edit(self, task: Task, **fields: Any) -> None:
        """Replace fields of the Task.

        Raises:
            ClearMLError: the server did not take them.
        """
        self._session.call("tasks.edit", task=task.id, force=True, **fields)

    def add_events(self, events: list[dict[str, Any]]) -> None:
        """Send scalars or console lines.

        Raises:
            ClearMLError: not all of them were taken.
        """
        self._session.add_events(events)

    def finish(self, task: Task, status: str, reason: str, message: str) -> None:
        """Set the last status, whatever the present one is.

        Raises:
            ClearMLError: the server did not take it.
        """
        self._session.call(f"tasks.{status}", task=task.id, status_reason=reason, status_message=message, force=True)

    def stopped(self, task_ids: Collection[str]) -> dict[str, tuple[str, str]]:
        """Return those Tasks that are stopped, or are to stop, by id, with reason and message.

        `tasks.stop` sets a Task `stopped`, or leaves it running with the message "stopping" where a worker reports it
        (API 2.34).

        Raises:
            ClearMLError: the server did not answer.
        """
        fields = ["id", "status", "status_reason", "status_message"]
        found = self._session.call("tasks.get_all", id=list(task_ids), only_fields=fields).get("tasks")
        stopped = {}
        for task in map(schema.task, found or []):
            reason, message = task.get("status_reason") or "", task.get("status_message") or ""
            if task.get("status") == "stopped" or message == "stopping":
                stopped[str(task["id"])] = (reason, message)
        return stopped

    def confirm_well(self, task: Task, after_s: float) -> None:
        """Wait, then have the server write something to the Task that it cannot refuse.

        Raises:
            ClearMLError: the server is not well.
        """
        self._session.pause(after_s)
        self.ping(task)

    def ping(self, task: Task) -> None:
        """Tell the server that the Task is alive.

        Raises:
            ClearMLError: it did not answer.
        """
        self._session.call("tasks.ping", task=task.id)

    def delete(self, task: Task) -> None:
        """Delete a Task that was made here and that another one replaces.

        Raises:
            ClearMLError: the server did not delete it.
        """
        self._session.call("tasks.delete", task=task.id, force=True, delete_output_models=False)

    def _read(self, task_id: str) -> dict[str, Any]:
        return schema.task(self._session.call("tasks.get_by_id", task=task_id)["task"])

    def _project(self, name: str) -> str:
        """Return the id of the project of exactly this name, made where there is none."""
        if name not in self._projects:
            found = self._find_project(name)
            if not found:
                try:
                    found = str(self._session.call("projects.create", name=name, description="")["id"])
                except RefusedError as error:
                    if error.code != _ALREADY_EXISTS:  # somebody else was quicker
                        raise
                    found = self._find_project(name)
            self._projects[name] = found
        return self._projects[name]

    def _find_project(self, name: str) -> str:
        found = self._session.call(
            "projects.get_all",
            name=f"^{re.escape(name)}$",
            only_fields=["id"],
            search_hidden=True,
            shallow_search=False,
        ).get("projects")
        return str(found[0]["id"]) if found else ""


def _points(task: dict[str, Any]) -> dict[tuple[str, str], int]:
    """Return how many points each curve of a Task holds, from the server's own count."""
    return {
        (last.get("metric", ""), last.get("variant", "")): int(last.get("count") or 0)
        for variants in (task.get("last_metrics") or {}).values()
        for last in variants.values()
    }


def is_adopted(task: Mapping[str, Any]) -> bool:
    """Tell whether a Task says of itself that a run has taken it over, see `Task.adopted`."""
    return bool(task.get("id")) and _property(task, ADOPTED) == task["id"]


def has_had_run(task: Mapping[str, Any]) -> bool:
    """Return True if a run has had this Task, whatever its status is now; a clone has had none."""
    return is_adopted(task) or DEVELOPMENT in (task.get("system_tags") or [])


def _is_of_run(task: Mapping[str, Any], run_id: str) -> bool:
    """Tell whether a Task is a run's own; one that has lost its properties may be.

    A clone is not, whatever became of it, nor is what waits for an agent, or was reset by its owner: that is to be
    another run's.
    """
    status = task.get("status")
    is_ours = DEVELOPMENT in (task.get("system_tags") or []) and status != "queued"
    is_taken = is_adopted(task)
    return run_of(task) in ("", run_id) and (status not in ("created", "queued") if is_taken else is_ours)


def run_of(task: Mapping[str, Any]) -> str:
    """Return the id of the run that a Task leads back to, "" for none; that of a clone is its origin's."""
    return _property(task, "mlflow_run_id")


def _property(task: Mapping[str, Any], name: str) -> str:
    properties = (task.get("hyperparams") or {}).get("properties") or {}
    return str((properties.get(name) or {}).get("value") or "")


def _artifacts(task: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what a Task holds as output, by key."""
    held = (task.get("execution") or {}).get("artifacts") or []
    return {artifact["key"]: artifact for artifact in held if _identity(artifact)[1] == "output"}


def _identity(artifact: dict[str, Any]) -> tuple[str, str]:
    """Return what tells a Task's artifacts apart on the server: key and mode."""
    return str(artifact.get("key")), str(artifact.get("mode") or "output")
