"""Find ClearML projects and what they hold, create those that are missing, and rename them."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from typing import Any

from autoinstrument.clearml_api import schema
from autoinstrument.clearml_api.errors import NotAllowedError, RefusedError, understood
from autoinstrument.clearml_api.paging import pages
from autoinstrument.clearml_api.session import Session

_KEPT_S = 60.0
"""Seconds for which a project's id is kept: a person, or a renamed experiment, may give its name to another one."""
_HIDDEN_TOO = {"search_hidden": True, "shallow_search": False}


@understood
class Projects:
    """The projects of one server. Every method raises `ClearMLError` if the server does not answer."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._ids: dict[str, tuple[str, float]] = {}
        """Ids by name, and the time until which they are kept."""
        self._asking = threading.Lock()

    def id_of(self, name: str) -> str:
        """Return the id of the project of exactly this name, which is created if there is none."""
        with self._asking:  # many runs begin at once, mostly in one project
            known, until = self._ids.get(name, ("", 0.0))
            if time.monotonic() < until:
                return known
            found = self.find(name) or self._create(name)
            self._ids[name] = found, time.monotonic() + _KEPT_S
            return found

    def forget(self, name: str) -> None:
        """Ask the server again the next time: something is wrong with the project of this name."""
        self._ids.pop(name, None)

    def find(self, name: str) -> str:
        """Return the id of the project of exactly this name, "" if there is none."""
        found = self._get_all(name=f"^{re.escape(name)}$", only_fields=["id"])
        return str(found[0]["id"]) if found else ""

    def name_of(self, project_id: str) -> str:
        """Return a project's name, "" if there is no such project."""
        found = self._get_all(id=[project_id], only_fields=["name"]) if project_id else []
        return str(found[0]["name"]) if found else ""

    def has_subprojects(self, name: str) -> bool:
        """Return True if there are projects below the one of this name, hidden ones included, such as `.reports`."""
        return bool(self._get_all(name=f"^{re.escape(name)}/", only_fields=["id"], page=0, page_size=1))

    def may_rename(self, before: str, name: str) -> bool:
        """Return True if a project may get another name: no project has it, and it is below the same parent."""
        is_below_same = before.rpartition("/")[0] == name.rpartition("/")[0]
        return is_below_same and not self.find(name)

    def rename(self, project_id: str, before: str, name: str) -> bool:
        """Rename a project, see `may_rename`; return False if it keeps its name.

        Its id stays, and with it the addresses of its pages.
        """
        try:
            self._session.call("projects.update", project=project_id, name=name)
        except (NotAllowedError, RefusedError):  # another process was quicker, or this user may not
            return self.name_of(project_id) == name
        finally:
            self.forget(before)
            self.forget(name)
        return True

    def tasks_in(self, project_id: str) -> Iterator[dict[str, Any]]:
        """Yield the Tasks of a project, archived and hidden ones included, with the fields that show whose they are."""
        fields = ["id", "status", "system_tags", "hyperparams.properties"]
        for task in pages(self._session, "tasks", project=[project_id], only_fields=fields, search_hidden=True):
            yield schema.task(task)

    def models_in(self, project_id: str, task_id: str = "") -> Iterator[dict[str, Any]]:
        """Yield `id` and `task` of the models of a project, archived ones included; with `task_id`, of that Task."""
        of_task = {"task": [task_id]} if task_id else {}
        yield from pages(self._session, "models", project=[project_id], only_fields=["id", "task"], **of_task)

    def _get_all(self, **query: Any) -> list[dict[str, Any]]:
        return self._session.call("projects.get_all", **query, **_HIDDEN_TOO).get("projects") or []

    def _create(self, name: str) -> str:
        try:
            return str(self._session.call("projects.create", name=name, description="")["id"])
        except RefusedError as error:
            if not error.is_duplicate:  # else another process was quicker
                raise
            return self.find(name)
