"""The environment that a project's files ask for, in the terms of a Task: packages, Python's version, a container."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from autoinstrument.capture.requirements_file import requirement_lines

_CONDA = re.compile(r"(?:[\w.-]+::)?(?P<name>[\w.-]+)\s*(?P<version>[=<>!~].*)?")
_OF_CONDA = {"python", "pip"}
_MLFLOW = re.compile(r"mlflow(-skinny|-tracing)?\b(?!-)", re.IGNORECASE)


class ProjectEnvironment(NamedTuple):
    """What an agent prepares before it runs a project."""

    pip: str | None = None
    """Requirements, None where the project names no packages."""
    conda: str = ""
    """The same for agents that use conda, "" where no conda file asks for it."""
    python: str = ""
    """Version, as in "3.10"; "" for any."""
    image: str = ""
    docker_args: tuple[str, ...] = ()


def environment_of(kind: str, file: str | None, docker_env: dict[str, Any] | None, folder: Path) -> ProjectEnvironment:
    """Return the environment of a project.

    Args:
        kind: "python_env", "conda_env" or "docker_env", the name of MLproject's field.
        file: path of the environment's file, None if there is none.
        docker_env: the field of that name.
        folder: the project's folder.

    Raises:
        ValueError: the file cannot be read as such a file; the text is for a person.
    """
    if docker_env:
        return ProjectEnvironment(pip="", image=str(docker_env["image"]), docker_args=tuple(_docker_words(docker_env)))
    if file is None:
        given = folder / "requirements.txt"
        return ProjectEnvironment(
            "\n".join(requirement_lines(["-r requirements.txt"], folder)) if given.is_file() else None
        )
    try:
        return _of_conda(Path(file)) if kind == "conda_env" else _of_python(Path(file))
    except (AttributeError, KeyError, TypeError, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read: {type(error).__name__}: {error}") from error


def with_mlflow(requirements: str, version: str) -> str:
    """Return requirements with MLflow, which runs the project; `version` is used where they do not name it."""
    if any(_MLFLOW.match(line.strip()) for line in requirements.splitlines()):
        return requirements
    return f"{requirements.rstrip()}\nmlflow{f'=={version}' if version else ''}\n".lstrip("\n")


def _of_python(file: Path) -> ProjectEnvironment:
    """Return the environment of a `python_env.yaml`, whose field `build_dependencies` is for the installation only."""
    found = _yaml(file)
    python = str(found.get("python") or "")
    return ProjectEnvironment(
        "\n".join(requirement_lines(map(str, found.get("dependencies") or []), file.parent)), python=_short(python)
    )


def _of_conda(file: Path) -> ProjectEnvironment:
    """Return the environment of a `conda.yaml`.

    An agent that does not use conda gets the packages from PyPI, where most of them have the same name.
    """
    python, names, pip = "", list[str](), list[str]()
    for item in _yaml(file).get("dependencies") or []:
        if isinstance(item, dict):
            pip += map(str, item.get("pip") or [])
            continue
        match = _CONDA.fullmatch(str(item).strip())
        if match is None:
            raise ValueError(f"{file}: {item!r} is not understood")
        name, version = match["name"], (match["version"] or "").replace(" ", "")
        if name == "python":
            python = re.sub(r"^=+|\.\*$", "", version)
        elif name not in _OF_CONDA:
            names.append(f"{name}{_pip_version(version)}")
    installed = list(requirement_lines(pip, file.parent))
    return ProjectEnvironment(
        "\n".join([*names, *installed]), "\n".join([*names, *installed]) if names else "", _short(python)
    )


def _pip_version(version: str) -> str:
    """Return conda's version specifier as pip writes it: `=1.2` is any 1.2, and a build is left out."""
    if not version.startswith("="):
        return version
    number = version.lstrip("=").partition("=")[0]
    return f"=={number}" if version.startswith("==") or number.endswith("*") else f"=={number}.*"


def _short(version: str) -> str:
    """Return major and minor of a version, by which an agent finds an interpreter; "" for a range."""
    match = re.match(r"(\d+\.\d+)", version)
    return match[1] if match else ""


def _docker_words(docker_env: dict[str, Any]) -> Iterator[str]:
    """Yield the words of `docker run`; a variable without a value is copied from the agent's machine."""
    for volume in docker_env.get("volumes") or []:
        yield from ("-v", str(volume))
    for variable in docker_env.get("environment") or []:
        yield from ("-e", "=".join(map(str, variable)) if isinstance(variable, list) else str(variable))


def _yaml(file: Path) -> dict[str, Any]:
    import yaml  # MLflow requires it

    found: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    return found
