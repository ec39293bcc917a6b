"""The versions of all registered models by run, in a request or two: what `sync` compares runs with.

Another process may move an alias or a stage long after a run has ended, and nothing of the run itself changes then.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from typing import Any

from autoinstrument.guard import logger
from autoinstrument.mlflow_store import internals
from autoinstrument.mlflow_store.models import as_version, found_versions, without_prompts
from autoinstrument.mlflow_store.runs import default_tracking_uri
from autoinstrument.mlflow_store.store_access import store_access
from autoinstrument.mlflow_store.store_errors import StoreNotThereError, if_supported, problem_of
from autoinstrument.mlflow_store.stores import registry_client, tracking_client
from autoinstrument.mlflow_store.workspaces import searched
from autoinstrument.records import Version

_BY_NAME_ONLY = ("databricks", "uc:")
"""Registries that list no versions without a name, and no aliases (Unity Catalog; mlflow 2.16 to 3.17)."""
_PAGE = 1000

VersionsOfRuns = Mapping[str, list[Version]]


class Registry:
    """The registry beside a tracking store, as a search finds it; read when it is asked for, and kept for a while.

    Args:
        tracking_uri: address of the tracking store, "" for the one that MLflow itself would use.
        keep_s: seconds after which it is read again; a reading that takes long is kept longer.
    """

    def __init__(self, tracking_uri: str = "", keep_s: float = float("inf")) -> None:
        self._uri, self._keep_s = tracking_uri, keep_s
        self._known: VersionsOfRuns | None = None
        self._last: VersionsOfRuns | None = None
        """The registry's last answer."""
        self._has_failed = False
        self._next_at = 0.0
        self._changed: set[str] = set()

    def of_run(self, run_id: str) -> list[Version] | None:
        """Return the versions that name a run, in any order; None if there is no registry, or it cannot be asked."""
        self._refresh()
        return None if self._known is None else self._known.get(run_id, [])

    def changed(self) -> set[str]:
        """Return the runs whose versions have changed since this was called last, as far as it was seen."""
        self._refresh()
        changed, self._changed = self._changed, set()
        return changed

    def note_failed(self, run_id: str) -> None:
        """Return a run again the next time: what has changed could not be delivered."""
        self._changed.add(run_id)

    def _refresh(self) -> None:
        began = time.monotonic()
        if began < self._next_at:
            return
        try:
            known = versions_by_run(self._uri or default_tracking_uri())
        except Exception as error:  # it raises what its driver raises
            if not self._has_failed:
                logger().warning(
                    "aliases and stages are not compared: the registry cannot be read (%s)", problem_of(error)
                )
            self._has_failed, known = True, None
        else:
            self._has_failed = False
        self._known, before = known, self._last
        if known is not None:
            self._last = known
            if before is not None:
                self._changed |= {run for run in before.keys() | known.keys() if before.get(run) != known.get(run)}
        self._next_at = time.monotonic() + max(self._keep_s, 20 * (time.monotonic() - began))


def versions_by_run(tracking_uri: str) -> VersionsOfRuns | None:
    """Return the versions of all registered models that name a run, by run id, in all workspaces that are searched.

    None if there is no registry, or if it cannot list them.

    Raises:
        mlflow.exceptions.MlflowException: the store does not answer.
    """
    if internals.registry_uri(tracking_uri).startswith(_BY_NAME_ONLY):
        return None
    by_run: dict[str, list[Version]] = {}
    try:
        for workspace in searched(tracking_client(tracking_uri)):
            with store_access(tracking_uri, workspace):
                found = if_supported(functools.partial(_read, registry_client(tracking_uri)))
            if not found:
                return None
            aliases, versions = found[0]
            for version in without_prompts(versions):
                if version.run_id:
                    of_version = aliases.get((version.name, str(version.version)), ())
                    by_run.setdefault(version.run_id, []).append(as_version(version, of_version))
    except StoreNotThereError:
        return None
    return by_run


def _read(registry: Any) -> list[tuple[dict[tuple[str, str], list[str]], list[Any]]]:
    return [(_aliases(registry), [*found_versions(registry, "")])]


def _aliases(registry: Any) -> dict[tuple[str, str], list[str]]:
    """Return the aliases of each version: a search for registered models returns them, one for versions does not."""
    aliases: dict[tuple[str, str], list[str]] = {}
    token = None
    while True:
        page = registry.search_registered_models(max_results=_PAGE, page_token=token)
        for model in page:
            for alias, version in (model.aliases or {}).items():
                aliases.setdefault((model.name, str(version)), []).append(alias)
        token = page.token
        if not token:
            return aliases
