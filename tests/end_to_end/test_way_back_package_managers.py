"""Agents that make the environment with uv, Poetry or conda, or install autoinstrument from a Git repository.

The environment holds autoinstrument alone. To save minutes, the training finds all else in another folder.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place
from tests.end_to_end.remote import Remote, remote_of
from tests.end_to_end.test_way_back_environments import install_for_user
from tests.shared import Shared
from tests.startup.environment import ROOT

pytestmark = pytest.mark.slow

SCRIPT = """
import sys
import mlflow

with mlflow.start_run():
    mlflow.log_param("prefix", sys.prefix)
"""
PROJECT = """
[project]
name = "work"
version = "1"
requires-python = ">=3.10"
dependencies = [{dependencies}]

[tool.poetry]
package-mode = false
"""
VARIABLES = {"UV_OFFLINE": "1", "UV_PYTHON": sys.executable, "PIP_NO_INDEX": "1"}
AGENT_FOR_CONDA = "clearml-agent==2.0.6"
"""Versions 2.0.7 to 3.0.3 run no Task with conda: `'CommandSequence' object has no attribute 'update_envs'`."""
CONDA = """#!{python}
# A stand-in for conda: an environment is a virtual one, and the log says what was to be installed by conda.
import pathlib, subprocess, sys

words = sys.argv[1:]
file = words[words.index("--file") + 1] if "--file" in words else ""
with open({log!r}, "a") as log:
    print(words[0], pathlib.Path(file).read_text() if file else "", file=log)
if words == ["--version"]:
    print("conda 24.1.0")
elif words[0] == "create":
    subprocess.run([sys.executable, "-m", "venv", words[words.index("--prefix") + 1]], check=True)
else:
    print("[]" if words[0] == "list" else '{{"success": true}}')
"""
ACTIVATE = 'conda() { [ "$1" != activate ] || . "$2/bin/activate"; }\n'


def without_dependencies(wheel: Path, folder: Path) -> Path:
    """Write a copy of a wheel that requires nothing, so that a resolver needs no index."""
    copy = folder / wheel.name
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(copy, "w") as target:
        for name in source.namelist():
            lines = source.read(name).splitlines(keepends=True)
            if name.endswith(".dist-info/METADATA"):
                lines = [line for line in lines if not line.startswith(b"Requires-Dist:")]
            elif name.endswith(".dist-info/RECORD"):
                lines = [line if b"/METADATA," not in line else line.split(b",")[0] + b",,\n" for line in lines]
            target.writestr(name, b"".join(lines))
    return copy


@pytest.fixture(scope="module")
def tools(shared: Shared, clearml_agent: Path) -> Path:
    """The folder of the commands `uv` and `poetry`, and of agents whose environment has pip, which uv mode needs."""

    def install(folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "-qq", "install", "uv", "poetry>=2"], check=True)
        (site,) = (folder / "lib").glob("*/site-packages")
        (installed,) = (clearml_agent.parents[1] / "lib").glob("*/site-packages")
        (site / "agent.pth").write_text(f"{installed}\n")
        conda_agent = folder / "conda-agent"
        pip = [folder / "bin" / "pip", "-qq", "install", "--no-deps", "--target", conda_agent, AGENT_FOR_CONDA]
        subprocess.run(pip, check=True)
        for name, path in (("agent", ""), ("conda-agent", conda_agent)):
            command = folder / "bin" / name
            command.write_text(f'#!/bin/sh\nPYTHONPATH={path} exec {folder}/bin/python -m clearml_agent "$@"\n')
            command.chmod(0o755)

    return shared.folder("package-managers", install) / "bin"


class Machine:
    """The agent's machine, and a repository; what the training needs besides autoinstrument is in a folder there."""

    def __init__(self, remote: Remote, tools: Path) -> None:
        self.remote, self._tools = remote, tools
        install_for_user(remote.home)
        (self.packages,) = (remote.home / ".local" / "lib").glob("*/site-packages")

    def run(self, clone: str, manager: str, **variables: str) -> str:
        """Run a clone by an agent with this package manager; return what it printed."""
        self.remote.command = self._tools / ("conda-agent" if manager == "conda" else "agent")
        shutil.rmtree(self.remote.home / ".clearml", ignore_errors=True)
        file = self.remote.home / f"{manager}.conf"
        packages = {"type": manager, "pip_version": [], "system_site_packages": manager == "pip"}
        file.write_text(json.dumps({"agent": {"python_binary": sys.executable, "package_manager": packages}}))
        return self.remote.execute(
            clone,
            CLEARML_CONFIG_FILE=str(file),
            CLEARML_AGENT_SKIP_PYTHON_ENV_INSTALL="",
            CLEARML_AGENT_SKIP_PIP_VENV_INSTALL="",
            CLEARML_AGENT_EXTRA_PYTHON_PATH=str(self.packages),
            # Else it is the agent's own folder, inside which uv 0.13 refuses to work (clearml-agent 3.0.3).
            UV_CACHE_DIR=str(self.remote.home / "uv-cache"),
            **VARIABLES,
            **variables,
        )


@pytest.fixture(scope="module")
def machine(new_place: Callable[[ClearMLServer | None], Place], tools: Path) -> Iterator[Machine]:
    with ClearMLServer() as server, remote_of(new_place(server), server, tools / "agent") as remote:
        yield Machine(remote, tools)


@pytest.mark.parametrize(("manager", "lock"), [("uv", "uv.lock"), ("poetry", "poetry.lock")])
def test_a_lock_file(machine: Machine, tools: Path, wheel: Path, manager: str, lock: str) -> None:
    """The agent installs what the lock file lists. The Task says so while autoinstrument is not among that."""
    remote = machine.remote
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    (remote.place.folder / "wheels").mkdir(exist_ok=True)
    bare = without_dependencies(wheel, remote.place.folder / "wheels")
    comments = {}
    for dependencies in ("", f'"autoinstrument @ {bare.as_uri()}"'):
        remote.place.write("pyproject.toml", PROJECT.format(dependencies=dependencies))
        environ = {**os.environ, **VARIABLES, "PATH": path}
        subprocess.run([tools / manager, "lock"], cwd=remote.place.folder, env=environ, check=True, capture_output=True)
        remote.commit({"train.py": SCRIPT})
        _, task = remote.train(command=["train.py"], experiment=f"{manager} {bool(dependencies)}")
        comments[bool(dependencies)] = f"{lock} has no autoinstrument" in task["script"]["requirements"]["pip"]
    assert comments == {False: True, True: False}
    clone = remote.clone(task)
    said = machine.run(clone, manager, PATH=path)
    assert remote.server.task(clone)["status"] == "completed", said
    (run,) = remote.linked(clone) or pytest.fail(said)
    assert Path(run.data.params["prefix"]).name == ".venv"
    (remote.place.folder / lock).unlink()


def test_conda(machine: Machine, wheel: Path) -> None:
    """A Task without packages of conda's leaves all to pip, as those of ClearML's SDK do; conda is a stand-in."""
    remote = machine.remote
    conda, log = remote.home / "conda" / "bin" / "conda", remote.home / "conda.log"
    shell = remote.home / "conda" / "etc" / "profile.d" / "conda.sh"
    for file, text in ((conda, CONDA.format(python=sys.executable, log=str(log))), (shell, ACTIVATE)):
        file.parent.mkdir(parents=True)
        file.write_text(text)
    conda.chmod(0o755)
    _, task = remote.train(command=["-c", SCRIPT], experiment="conda")
    needed = [line for line in task["script"]["requirements"]["pip"].splitlines() if line.startswith("autoinstrument")]
    requirements = {**task["script"]["requirements"], "pip": "\n".join(needed)}
    clone = remote.clone(task)
    remote.call("tasks.edit", task=clone, force=True, script={**task["script"], "requirements": requirements})
    bare = without_dependencies(wheel, remote.home)
    path = f"{conda.parent}{os.pathsep}{os.environ['PATH']}"
    said = machine.run(clone, "conda", PATH=path, PIP_FIND_LINKS=str(bare.parent))
    assert remote.linked(clone), said
    assert "create" in log.read_text()
    assert "autoinstrument" not in log.read_text()


def test_a_git_repository(machine: Machine, ssh: tuple[str, str]) -> None:
    """`pip install git+ssh://…`: the agent installs the same commit, with the deploy key of its machine."""
    remote = machine.remote
    address, command = ssh
    source, bare = remote.home / "source", remote.home / "autoinstrument.git"
    source.mkdir()
    for name in ("autoinstrument", "pyproject.toml", "README.md", "LICENSE", "sitecustomize_template"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    git = remote.place.git
    git("init", "-q", "--bare", "-b", "main", str(bare))
    for words in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-q", "-m", "Release"),
                  ("push", "-q", str(bare), "main")):  # fmt: skip
        git("-C", str(source), *words)
    commit = git("-C", str(source), "rev-parse", "HEAD").strip()
    _, task = remote.train(command=["-c", SCRIPT], experiment="from Git")
    line = f"autoinstrument @ git+{address}{bare}@{commit}"  # as an installation from there is described (PEP 610)
    clone = remote.clone(task)
    requirements = {"pip": line, "conda": ""}
    remote.call("tasks.edit", task=clone, force=True, script={**task["script"], "requirements": requirements})
    # Hatchling, which builds the wheel, is among what the tests have installed.
    said = machine.run(clone, "pip", GIT_SSH_COMMAND=command, PIP_NO_BUILD_ISOLATION="0")
    assert remote.linked(clone), said
