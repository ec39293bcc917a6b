"""Find ClearML projects by name, and create those that are missing."""

from __future__ import annotations

import re

from autoinstrument.clearml_api.errors import RefusedError, understood
from autoinstrument.clearml_api.session import Session


@understood
class Projects:
    """The projects of one server; ids that were found once are remembered."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._ids: dict[str, str] = {}

    def id_of(self, name: str) -> str:
        """Return the id of the project of exactly this name, which is created if there is none.

        Raises:
            ClearMLError: it was neither found nor created.
        """
        if name not in self._ids:
            self._ids[name] = self._find(name) or self._create(name)
        return self._ids[name]

    def _create(self, name: str) -> str:
        try:
            return str(self._session.call("projects.create", name=name, description="")["id"])
        except RefusedError as error:
            if not error.is_duplicate:  # else another process was quicker
                raise
            return self._find(name)

    def _find(self, name: str) -> str:
        found = self._session.call(
            "projects.get_all",
            name=f"^{re.escape(name)}$",
            only_fields=["id"],
            search_hidden=True,
            shallow_search=False,
        ).get("projects")
        return str(found[0]["id"]) if found else ""
