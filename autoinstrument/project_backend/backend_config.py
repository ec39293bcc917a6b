"""The backend configuration: what `--backend-config` and `backend_config=` may hold."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

_OF_MLFLOW = {"ENV_MANAGER", "SYNCHRONOUS", "DOCKER_ARGS", "STORAGE_DIR", "build_image", "docker_auth"}
"""Keys that MLflow itself adds (`mlflow.projects.utils`, 2.16 to 3.17)."""
_DOCKER_ARGUMENTS, _ENVIRONMENT = "DOCKER_ARGS", "ENV_MANAGER"
_PRIORITIES = ("normal", "high")


class BackendConfig(NamedTuple):
    """Where a project is queued, and what differs from its MLproject file."""

    queue: str = ""
    """Name of the queue, "" for the server's default queue."""
    project: str = ""
    """ClearML project, "" for the one that `AUTOINSTRUMENT_PROJECT` names."""
    container: str = ""
    """Image of the container, "" for the one of `docker_env`."""
    docker_args: list[str] = []  # noqa: RUF012  (never changed)
    """Words of `docker run`, after those of `docker_env`."""
    tags: list[str] = []  # noqa: RUF012
    packages: list[str] | None = None
    """Lines of a requirements file instead of the project's environment, None for that environment."""
    priority: str = "normal"
    """"high": the Task goes to the front of its queue."""
    wait: bool = False
    """The backend itself waits for the end: `mlflow run` does that for MLflow's own backends alone (2.16 to 3.17)."""
    uses_local_environment: bool = False
    """The packages installed here are used: `--env-manager local`."""


def backend_config_of(given: Mapping[str, Any]) -> BackendConfig:
    """Return the configuration that MLflow passes to the backend.

    Raises:
        ValueError: it has an unknown key, or a value that is not allowed; the text is for a person.
    """
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key in _OF_MLFLOW:
            continue
        read = _READERS.get(key)
        if read is None:
            raise ValueError(f"the backend configuration has no {key!r}; it may have {', '.join(_READERS)}")
        try:
            values[key] = read(value)
        except ValueError as error:
            raise ValueError(f"{key!r} of the backend configuration must be {error}, not {value!r}") from None
    docker = given.get(_DOCKER_ARGUMENTS) or {}
    return BackendConfig(**values)._replace(
        docker_args=[*values.get("docker_args", []), *(word for item in docker.items() for word in _docker(*item))],
        uses_local_environment=given.get(_ENVIRONMENT) == "local",
    )


def _docker(name: str, value: Any) -> list[str]:
    """Return an option of `docker run` as `mlflow run --docker-args NAME=VALUE` gives it, True for one without."""
    option = f"-{name}" if len(name) == 1 else f"--{name}"
    return [option] if value is True else [option, str(value)]


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a text")
    return value.strip()


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("a list of texts")
    return value


def _words(value: Any) -> list[str]:
    return shlex.split(value) if isinstance(value, str) else _texts(value)


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")  # noqa: TRY004  (as of the other readers)
    return value


def _priority(value: Any) -> str:
    if value not in _PRIORITIES:
        raise ValueError(f"one of {', '.join(_PRIORITIES)}")
    return str(value)


_READERS = {
    "queue": _text,
    "project": _text,
    "container": _text,
    "docker_args": _words,
    "tags": _texts,
    "packages": _texts,
    "priority": _priority,
    "wait": _switch,
}
