"""The keys of a backend configuration, and the errors for any others."""

from __future__ import annotations

from typing import Any

import pytest

from autoinstrument.project_backend.backend_config import BackendConfig, backend_config_of

OF_MLFLOW = {"ENV_MANAGER": None, "SYNCHRONOUS": True, "STORAGE_DIR": None, "build_image": False, "docker_auth": None}


def test_all_keys() -> None:
    given = {
        "queue": "gpu", "project": "a/b", "container": "python:3.11", "docker_args": "--ipc=host -v '/a b:/c'",
        "tags": ["x"], "packages": ["mlflow", "numpy<2"], "priority": "high", "wait": True,
        **OF_MLFLOW, "ENV_MANAGER": "local", "DOCKER_ARGS": {"gpus": "all", "t": True},
    }  # fmt: skip
    assert backend_config_of(given) == BackendConfig(
        queue="gpu", project="a/b", container="python:3.11",
        docker_args=["--ipc=host", "-v", "/a b:/c", "--gpus", "all", "-t"],
        tags=["x"], packages=["mlflow", "numpy<2"], priority="high", wait=True, uses_local_environment=True,
    )  # fmt: skip


def test_no_keys() -> None:
    assert backend_config_of({**OF_MLFLOW, "DOCKER_ARGS": None}) == BackendConfig()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"que": "x"}, "has no 'que'; it may have queue, project"),
        ({"queue": ""}, "'queue' of the backend configuration must be a text, not ''"),
        ({"tags": "x"}, "'tags' of the backend configuration must be a list of texts, not 'x'"),
        ({"packages": [1]}, "must be a list of texts"),
        ({"docker_args": {"a": 1}}, "must be a list of texts"),
        ({"docker_args": "'"}, "'docker_args' of the backend configuration must be"),
        ({"priority": 1}, "must be one of normal, high, not 1"),
        ({"wait": "yes"}, "must be true or false"),
    ],
)
def test_keys_and_values_that_are_not_allowed(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        backend_config_of(given)
