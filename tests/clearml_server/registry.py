"""The table of endpoints: name → handler, version answered, request schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .envelope import Doc
from .schema import Field

if TYPE_CHECKING:
    from .state import State


@dataclass
class Call:
    """One request after parsing. `batch` is set for json-lines bodies only."""

    endpoint: str
    data: Doc = field(default_factory=dict)
    batch: list[Doc] | None = None
    version: tuple[int, int] = (2, 34)
    worker: str = "<unknown>"  # X-ClearML-Worker; events that lack a worker get it
    remote: str = "127.0.0.1"


Handler = Callable[["State", Call], Doc]


@dataclass(frozen=True)
class Endpoint:
    """A handler with the data that the envelope and the front door need about it."""

    name: str
    handler: Handler
    version: str
    fields: Mapping[str, Field]
    public: bool
    roles: str


ENDPOINTS: dict[str, Endpoint] = {}


def endpoint(
    name: str,
    fields: Mapping[str, Field] | None = None,
    *,
    version: str = "1.0",
    public: bool = False,
    roles: str = "",
) -> Callable[[Handler], Handler]:
    """Register a handler.

    Args:
        name: `service.action`.
        fields: Schema against which the body is checked before the handler runs.
        version: `actual_version` of the envelope, as recorded for a v2.23 request.
        public: Needs no credentials (debug.ping, login.supported_modes).
        roles: The roles the server names when it refuses a user (403/20).
    """

    def register(handler: Handler) -> Handler:
        ENDPOINTS[name] = Endpoint(name, handler, version, fields or {}, public, roles)
        return handler

    return register
