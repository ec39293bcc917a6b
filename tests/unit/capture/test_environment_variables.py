"""The variables that ClearML's configuration names, as the SDK chooses them, and no secret."""

from __future__ import annotations

from typing import Any

import pytest

from autoinstrument.capture.environment_variables import chosen

ENVIRON = {
    "CUDA_VERSION": "12", "CUDA_HOME": "/cuda", "OMP_NUM_THREADS": "4", "CLEARML_API_HOST": "https://api",
    "TRAINS_WEB_HOST": "https://web", "EMPTY": "", "A": "1",
}  # fmt: skip


@pytest.mark.parametrize(
    "patterns",
    [["*"], ["CUDA_*"], ["*_HOST", "A"], ["NONE", " CUDA_VERSION ", "EMPTY"], ["**"], ["cuda_*"], ["CLEARML_*", "*"]],
)
def test_the_sdk_chooses_the_same(patterns: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from clearml.binding import environ_bind

    class Kept:
        """Takes the place of the SDK's Task."""

        @staticmethod
        def connect(values: dict[str, Any], section: str) -> None:
            connected.update(values)

    connected = dict[str, Any]()
    monkeypatch.setattr(environ_bind.os, "environ", {**ENVIRON, "CLEARML_LOG_ENVIRONMENT": ",".join(patterns)})
    monkeypatch.setattr(environ_bind, "running_remotely", lambda: False)
    monkeypatch.setattr(environ_bind.EnvironmentBind, "_current_task", Kept)
    environ_bind.EnvironmentBind._bind_environment()
    connected.pop("CLEARML_LOG_ENVIRONMENT", None)
    assert connected == chosen(ENVIRON, patterns)


def test_variables_of_one_process_are_not_chosen() -> None:
    """An agent with `agent.enable_task_env` would set it for a clone."""
    environ = {"MLFLOW_RUN_ID": "5", "MLFLOW_EXPERIMENT_NAME": "a", "AUTOINSTRUMENT_CLONE": "{}"}
    assert chosen(environ, ["*", "MLFLOW_*"]) == {"MLFLOW_EXPERIMENT_NAME": "a"}


def test_no_secret_is_chosen() -> None:
    """An agent would set the mask in the place of the secret."""
    environ = {"AWS_SECRET_ACCESS_KEY": "x", "HF_TOKEN": "x", "DB": "postgres://me:sesame@host/db", "AWS_REGION": "a"}
    assert chosen(environ, ["*", "HF_TOKEN"]) == {"AWS_REGION": "a"}
