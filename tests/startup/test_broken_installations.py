"""Start-up files that were left behind, and packages that are broken, neither stop nor litter an interpreter."""

from __future__ import annotations

import shutil

import pytest

ON = {"AUTOINSTRUMENT_ENABLED": "1"}
COUNT = "print(6 * 7)"


def without_package(environment):
    shutil.rmtree(environment.site_packages / "autoinstrument")


def empty_folder(environment):
    """A folder that was not removed because of files that Python wrote there."""
    without_package(environment)
    (environment.site_packages / "autoinstrument" / "__pycache__").mkdir(parents=True)


def file_of_the_same_name(environment):
    without_package(environment)
    (environment.site_packages / "autoinstrument.py").write_text("")


def syntax_error(environment):
    (environment.site_packages / "autoinstrument" / "__init__.py").write_text("def init(:\n")


def null_bytes(environment):
    """A disk that was full, or a machine that went down, while it was installed."""
    (environment.site_packages / "autoinstrument" / "__init__.py").write_bytes(bytes(100))


def syntax_error_in_bootstrap(environment):
    (environment.site_packages / "autoinstrument" / "bootstrap/import_hook.py").write_text("def arm(:\n")


def bootstrap_missing(environment):
    (environment.site_packages / "autoinstrument" / "bootstrap/import_hook.py").unlink()


def bootstrap_of_another_version(environment):
    (environment.site_packages / "autoinstrument" / "bootstrap/import_hook.py").write_text("def start(): pass\n")


def error_in_arm(environment):
    (environment.site_packages / "autoinstrument" / "bootstrap/import_hook.py").write_text("def arm(): 1 / 0\n")


BREAKAGES = [
    without_package, empty_folder, file_of_the_same_name, syntax_error, null_bytes, syntax_error_in_bootstrap,
    bootstrap_missing, bootstrap_of_another_version, error_in_arm,
]  # fmt: skip


@pytest.mark.parametrize("damage", BREAKAGES, ids=lambda damage: damage.__name__)
def test_interpreter_starts_and_prints_nothing(breakable, damage):
    damage(breakable)
    for env in ({}, ON):
        done = breakable.run("-W", "error", "-c", COUNT, env=env)
        assert (done.stdout, done.stderr) == ("42\n", "")


@pytest.mark.parametrize(
    "missing",
    [
        "agent/__init__",
        "guard",
        "integrations/argparse_values",
        "integrations/parsed_arguments",
        "integrations/mlflow_tracking",
        "integrations/wrapping",
    ],
)
def test_imports_go_on_where_a_part_is_missing(breakable, tmp_path, missing):
    """The awaited modules are imported as without the agent; one line reports it, if that is still possible."""
    (breakable.site_packages / "autoinstrument" / f"{missing}.py").unlink()
    write_stub(tmp_path)
    done = breakable.run(
        "-c", "import argparse, mlflow; mlflow.start_run(); print(mlflow.__name__)", cwd=tmp_path, env=ON
    )
    assert done.stdout == "mlflow\n"
    assert "Traceback" not in done.stderr


def test_imports_go_on_without_the_dependencies(light, tmp_path):
    """`pip install --no-deps`, or an environment in which wrapt was removed."""
    write_stub(tmp_path)
    done = light.run("-c", "import mlflow; mlflow.start_run(); print(mlflow.__name__)", cwd=tmp_path, env=ON)
    assert done.stdout == "mlflow\n"
    assert all(line.startswith("autoinstrument: instrumenting mlflow.") for line in done.stderr.splitlines())


def write_stub(folder):
    """Write a package with MLflow's module names: these environments have no MLflow."""
    for name, text in {
        "mlflow/__init__.py": "from mlflow.tracking.fluent import start_run\n",
        "mlflow/version.py": "VERSION = '3.0.0'\n",
        "mlflow/tracking/__init__.py": "",
        "mlflow/tracking/fluent.py": "from ._tracking_service import client\ndef start_run(): pass\n",
        "mlflow/tracking/_tracking_service/__init__.py": "",
        "mlflow/tracking/_tracking_service/client.py": "class TrackingServiceClient: pass\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
