"""The stores that the training's own clients have opened: the only ones that the agent uses in a training process.

Opening another one there could create or migrate it, and Alembic, which migrates, keeps its state in one global: two
threads that open stores break each other (MLflow 2.16 to 3.17).
"""

from __future__ import annotations

from types import ModuleType
from typing import Any
from weakref import ref

from autoinstrument.guard import guard, is_own_call
from autoinstrument.mlflow_store.opening import REGISTRY, TRACKING, check_exists
from autoinstrument.mlflow_store.store_errors import StoreNotThereError
from autoinstrument.mlflow_store.urls import absolute
from autoinstrument.scrubber import without_credentials
from autoinstrument.tracebacks import leave_out_frame

_watched = False
_opened: dict[str, dict[str, ref[Any]]] = {TRACKING: {}, REGISTRY: {}}
"""The latest store by kind and the tracking URI that its client has; a store is not kept alive by this."""
_names: dict[tuple[str, str], tuple[str, str]] = {}
"""By kind and absolute tracking URI: the tracking URI that the client has, and the store's own URI."""


def are_watched() -> bool:
    """Return True in a process whose MLflow clients are watched, which is a training process."""
    return _watched


def note_stores(module: ModuleType, class_name: str) -> None:
    """Note which stores the clients of a class open: `TrackingServiceClient` or `ModelRegistryClient`.

    Both look their store up at each use, by the property `store` (MLflow 2.16 to 3.17). Without it nothing is noted,
    and reading the store is left to the worker.
    """
    global _watched
    _watched = True
    owner = vars(module).get(class_name)
    original = vars(owner).get("store") if isinstance(owner, type) else None
    if isinstance(original, property) and not isinstance(original, NotingProperty):
        kind = REGISTRY if class_name == "ModelRegistryClient" else TRACKING
        setattr(owner, "store", NotingProperty(kind, original.fget))  # noqa: B010  (mypy knows no such attribute)


class NotingProperty(property):
    """MLflow's property `store`, which also notes the store that it returns."""

    def __init__(self, kind: str, find: Any) -> None:
        opened, noting = _opened[kind], guard("noting a store")

        def store(client: Any) -> Any:  # MLflow looks it up three times for a point: `users_call` is written out
            try:
                found = find(client)
            except BaseException as error:
                leave_out_frame(error)
                raise
            latest = opened.get(getattr(client, "tracking_uri", ""))
            if latest is None or latest() is not found:
                with noting:
                    note_store(client, found)
            return found

        def note_store(client: Any, found: Any) -> None:
            if not is_own_call():
                given = client.tracking_uri
                _names[kind, absolute(given)] = given, getattr(client, "registry_uri", given)
                opened[given] = ref(found)

        super().__init__(store, doc=find.__doc__)


def find(kind: str, tracking_uri: str) -> tuple[Any, str]:
    """Return the store that the training has opened, and its own URI, as long as that leads to the same place.

    Raises:
        StoreNotThereError: the training has opened none, or it is gone.
    """
    place = absolute(tracking_uri)
    given, uri = _names.get((kind, place), ("", ""))
    latest = _opened[kind].get(given)
    store = latest and latest()
    if store is None or absolute(given) != place:  # a relative URI leads elsewhere from another working directory
        raise StoreNotThereError(f"the training has not opened the {kind} of {without_credentials(place)}")
    check_exists(kind, uri, for_training=True)
    return store, uri
