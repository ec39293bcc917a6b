"""Programs that the agent stays out of, by the interpreter's command line; and those that only look like them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from autoinstrument.bootstrap.program import is_other_program
from tests.startup.environment import Environment

ON = {"AUTOINSTRUMENT_ENABLED": "1"}

OTHERS = [
    "-m pip install mlflow",
    "-mpip install mlflow",
    "-Im pip install mlflow",
    "-Impip",
    "-I -m pip",
    "-bb -m build",
    "-W ignore -m build",
    "-Wignore -X dev -m build",
    "-Xdev -Bm hatchling build",
    "-IX utf8 -m pip",
    "--check-hash-based-pycs never -m pip",
    "-m pip.__main__",
    "-m venv .venv",
    "-m ensurepip",
    "-m autoinstrument sync",
    "-m clearml_agent daemon",
    "/venv/bin/pip list",
    "/venv/bin/pip3.12 list",
    "/venv/bin/pip3 list",
    "-I /venv/bin/pip3.12 list",
    "-- /venv/bin/pip list",
    "/venv/bin/pyproject-build",
    "/venv/bin/hatch build",
    "/usr/local/bin/clearml-agent execute --id 1",
    "/venv/bin/autoinstrument sync",
    "/venv/lib/python3.12/site-packages/pip/__pip-runner__.py install",
    "/venv/lib/python3.12/site-packages/pip/_vendor/pyproject_hooks/_in_process/_in_process.py build_wheel /tmp/x",
]  # fmt: skip

TRAINING = [
    "",
    "-",
    "-i",
    "train.py",
    "build.py",
    "hatch.py --epochs 3",
    "scripts/build.py",
    "bin/build.py",
    "venv.py",
    "-u pip.py",
    "poetry/train.py",
    "build",  # a folder with a __main__.py
    "experiments/uv/main.py",
    "train.py -m pip",
    "train.py pip",
    "-c pip",
    "-cpip",
    "-Ic import\tpip -m pip",
    "-W ignore train.py -m pip",
    "-W -m train.py",
    "-X -mpip train.py",
    "-m train -m pip",
    "-m pipeline.train",
    "-m builder",
    "-m ipykernel_launcher -f kernel.json",
    "-m torch.distributed.run --nproc_per_node 2 build.py",
    "/venv/bin/torchrun train.py",
    "/venv/bin/accelerate launch hatch.py",
    "/venv/bin/mlflow run .",
    "/venv/bin/jupyter lab",
    "/venv/bin/papermill a.ipynb b.ipynb",
    "-- -m pip",
    "__pip-runner__.py",
    "-m",
    "-c",
    "-W",
]  # fmt: skip


@pytest.mark.parametrize("line", OTHERS)
def test_stays_out_of(line):
    assert is_other_program(["python", *line.split(" ")])


@pytest.mark.parametrize("line", TRAINING)
def test_is_training(line):
    assert not is_other_program(["python", *line.split(" ")])


def test_an_embedded_interpreter_without_a_command_line_is_training():
    assert not is_other_program([])


def test_code_and_its_arguments_are_never_taken_for_a_program():
    assert not is_other_program(["python", "-c", "import pip; pip.main()", "-m", "pip"])


# The same with real programs

# Runs at the end of every interpreter of the environment, after the agent's file ("o" comes after "a").
RECORDER = """
import os, sys, atexit, json
def record(path=os.environ["RECORD"]):
    names = [type(finder).__name__ for finder in sys.meta_path]
    package = sorted(name for name in sys.modules if name.startswith("autoinstrument"))
    with open(os.path.join(path, str(os.getpid())), "w") as file:
        json.dump({"command": sys.orig_argv[1:], "armed": "AfterImport" in names, "package": package}, file)
atexit.register(record)
"""


@pytest.fixture
def recorded(own_environment: Environment, tmp_path):
    """Run Python; return each interpreter that ran, and whether it was armed."""
    (own_environment.site_packages / "our_recorder.py").write_text(RECORDER)
    recorder = own_environment.site_packages / "our-recorder.pth"
    recorder.write_text("import os; os.environ.get('RECORD') and __import__('our_recorder')\n")
    folder = tmp_path / "records"
    folder.mkdir()

    def run(*arguments, cwd=tmp_path):
        own_environment.run(*arguments, cwd=cwd, env={**ON, "RECORD": str(folder)})
        return [json.loads(path.read_text()) for path in sorted(folder.iterdir())]

    yield run
    recorder.unlink()


def script_of(environment: Environment, name: str, module: str) -> str:
    """Write a console script, as an installer does, for a package that is in the tests' environment."""
    path = environment.folder / "bin" / name
    path.write_text(f"#!{environment.python}\nimport sys\nfrom {module} import main\nsys.exit(main())\n")
    path.chmod(0o755)
    return str(path)


BACK_END = """
import argparse, os, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(os.path.join(folder, "thing-1.0-py3-none-any.whl"), "w") as wheel:
        wheel.writestr("thing.py", "")
        for name, text in {
            "METADATA": "Metadata-Version: 2.1\\nName: thing\\nVersion: 1.0\\n",
            "WHEEL": "Wheel-Version: 1.0\\nGenerator: tests\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
            "RECORD": "",
        }.items():
            wheel.writestr(f"thing-1.0.dist-info/{name}", text)
    return "thing-1.0-py3-none-any.whl"
"""


def project(folder, requires=()):
    """Write a project whose build back end needs no download."""
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        f'[build-system]\nrequires = {list(requires)}\nbuild-backend = "back_end"\nbackend-path = ["."]\n'
        '[project]\nname = "thing"\nversion = "1.0"\n'
    )
    (folder / "back_end.py").write_text(BACK_END)
    return folder


def test_not_in_pip(own_environment, recorded):
    (one,) = recorded("-m", "pip", "--version")
    assert (one["armed"], one["package"]) == (
        False,
        [
            "autoinstrument",
            "autoinstrument.bootstrap",
            *map("autoinstrument.bootstrap.{}".format, ("import_hook", "program")),
            "autoinstrument.switch",
        ],
    )


def test_not_in_the_script_pip(own_environment, recorded):
    (one,) = recorded(script_of(own_environment, "pip3.11", "pip._internal.cli.main"), "--version")
    assert not one["armed"]


def test_not_in_the_processes_that_pip_starts_to_build(own_environment, recorded, tmp_path):
    options = ["--disable-pip-version-check", "--no-index", "--no-deps", "-q", "--target", tmp_path / "target"]
    helper: dict[str, Any] = {}
    exec(BACK_END, helper)
    requires = [f"thing @ {(tmp_path / helper['build_wheel'](tmp_path)).as_uri()}"]
    every = recorded("-m", "pip", "install", *options, project(tmp_path / "project", requires))
    for file in ("__pip-runner__.py", "_in_process.py"):
        assert any(file in " ".join(one["command"]) for one in every), f"pip starts {file}"
    assert [one["command"] for one in every if one["armed"]] == []


def test_not_in_build_and_its_back_end(own_environment, recorded, tmp_path):
    folder = project(tmp_path / "project")
    every = recorded("-m", "build", "--no-isolation", "--skip-dependency-check", "-w", "-o", tmp_path / "dist", folder)
    assert len(every) > 1, "build runs the back end in a process of its own"
    assert [one["command"] for one in every if one["armed"]] == []
    assert list((tmp_path / "dist").glob("*.whl"))


@pytest.mark.parametrize("way", ["module", "script"])
def test_not_in_the_packages_own_commands(own_environment, recorded, way):
    script = own_environment.folder / "bin" / "autoinstrument"
    (one,) = recorded(*([script] if way == "script" else ["-m", "autoinstrument"]), "--help")
    assert not one["armed"]
    assert "autoinstrument.agent" not in one["package"]


def test_in_a_training_script_that_is_called_build(own_environment, recorded, tmp_path):
    for name in ("build.py", "hatch.py", "pip.py"):
        (tmp_path / name).write_text("import argparse\n")
    (one,) = recorded("build.py")
    assert one["armed"]
