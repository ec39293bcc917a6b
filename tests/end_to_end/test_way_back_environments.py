"""The agent makes the environment from the Task's requirements, autoinstrument among them: nothing is prepared."""

from __future__ import annotations

import sys
from pathlib import Path

import mlflow

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, link_tags, task_of
from tests.end_to_end.remote import remote_of

SCRIPT = """
import argparse, sys
import mlflow

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
args = parser.parse_args()
with mlflow.start_run():
    mlflow.log_param("lr", args.lr)
    mlflow.log_param("prefix", sys.prefix)
"""


def install_for_user(home: Path) -> None:
    """Make what is installed here, but autoinstrument, the user's own packages there (by links, to save minutes)."""
    version = "python{}.{}".format(*sys.version_info)
    folder = home / ".local" / "lib" / version / "site-packages"
    folder.mkdir(parents=True)
    for entry in Path(mlflow.__file__).parents[1].iterdir():
        if "autoinstrument" not in entry.name and entry.suffix != ".pth" and entry.name != "__pycache__":
            (folder / entry.name).symlink_to(entry)


SETTINGS = """
agent {
    python_binary: "%s"
    package_manager { pip_version: [], system_site_packages: true }
}
"""


def test_a_script_without_a_repository(
    own_server: ClearMLServer, own_place: Place, clearml_agent: Path, wheel: Path
) -> None:
    """Its text travels with the Task, and the wheel comes from a folder; all else has been installed before."""
    done = own_place.run(SCRIPT, "--lr", "0.2", MLFLOW_EXPERIMENT_NAME="alone")
    assert done.code == 0, done.stderr
    source = task_of(own_server, own_place.the_run().info.run_id)
    with remote_of(own_place, own_server, clearml_agent) as remote:
        install_for_user(remote.home)
        (remote.home / "clearml.conf").write_text(SETTINGS % sys.executable)
        clone = remote.clone(source, Args__lr="0.5")
        said = remote.execute(
            clone,
            CLEARML_CONFIG_FILE=str(remote.home / "clearml.conf"),
            CLEARML_AGENT_SKIP_PYTHON_ENV_INSTALL="",
            CLEARML_AGENT_SKIP_PIP_VENV_INSTALL="",
            PIP_NO_INDEX="1",
            PIP_FIND_LINKS=str(wheel.parent),
        )
        (run,) = [run for run in remote.runs("alone") if link_tags(run).get("task_id") == clone] or [None]
        assert run is not None, said
        assert run.data.params["lr"] == "0.5"
        assert Path(run.data.params["prefix"]).is_relative_to(remote.home / ".clearml" / "venvs-builds")
        assert own_server.task(clone)["status"] == "completed"
