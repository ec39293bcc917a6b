"""The files that describe a project's environment become packages, a version of Python and a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoinstrument.project_backend.environments import ProjectEnvironment, environment_of, with_mlflow


def test_a_python_environment(tmp_path: Path) -> None:
    """The files that it names are read here: an agent installs from a text that has no folder."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "base.txt").write_text("# base\nnumpy<2\n\n-r ../last.txt\n")
    (tmp_path / "last.txt").write_text("scipy\n")
    file = tmp_path / "python_env.yaml"
    file.write_text(
        "python: 3.10.4\nbuild_dependencies: [pip==23.0]\ndependencies:\n- mlflow==2.22.0\n- -r more/base.txt\n"
    )
    found = environment_of("python_env", str(file), None, tmp_path)
    assert found == ProjectEnvironment("mlflow==2.22.0\nnumpy<2\nscipy", python="3.10")


def test_a_conda_environment(tmp_path: Path) -> None:
    file = tmp_path / "conda.yaml"
    file.write_text(
        "name: x\nchannels: [conda-forge]\ndependencies:\n- python=3.11\n- pip\n- numpy=1.26\n- pandas>=2, <3\n"
        "- conda-forge::scipy==1.11.1\n- blas=1.0=mkl\n- pip:\n  - mlflow\n"
    )
    text = "numpy==1.26.*\npandas>=2,<3\nscipy==1.11.1\nblas==1.0.*\nmlflow"
    assert environment_of("conda_env", str(file), None, tmp_path) == ProjectEnvironment(text, text, "3.11")


def test_conda_for_python_alone(tmp_path: Path) -> None:
    """All packages are pip's: an agent without conda makes the same environment."""
    file = tmp_path / "conda.yaml"
    file.write_text("dependencies: [python=3.11, pip, {pip: [mlflow]}]\n")
    assert environment_of("conda_env", str(file), None, tmp_path) == ProjectEnvironment("mlflow", "", "3.11")


def test_a_container(tmp_path: Path) -> None:
    docker = {"image": "python:3.11", "volumes": ["/a:/b"], "environment": [["X", "1 2"], "HOME"]}
    found = environment_of("docker_env", None, docker, tmp_path)
    assert found == ProjectEnvironment(
        "", image="python:3.11", docker_args=("-v", "/a:/b", "-e", "X=1 2", "-e", "HOME")
    )


def test_no_environment(tmp_path: Path) -> None:
    assert environment_of("python_env", None, None, tmp_path) == ProjectEnvironment(None)
    (tmp_path / "requirements.txt").write_text("mlflow\n")
    assert environment_of("python_env", None, None, tmp_path) == ProjectEnvironment("mlflow")


@pytest.mark.parametrize("text", ["- a", "dependencies: 3", "dependencies: [-r none.txt]"])
def test_a_file_of_another_kind(tmp_path: Path, text: str) -> None:
    file = tmp_path / "python_env.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"python_env\.yaml cannot be read"):
        environment_of("python_env", str(file), None, tmp_path)


@pytest.mark.parametrize(
    ("requirements", "expected"),
    [
        ("", "mlflow==3.1\n"),
        ("numpy", "numpy\nmlflow==3.1\n"),
        ("numpy\nmlflow", "numpy\nmlflow"),
        ("MLflow[extras]>=2", "MLflow[extras]>=2"),
        ("mlflow-skinny==3", "mlflow-skinny==3"),
        ("mlflow-export-import", "mlflow-export-import\nmlflow==3.1\n"),
    ],
)
def test_mlflow_is_installed(requirements: str, expected: str) -> None:
    assert with_mlflow(requirements, "3.1") == expected
