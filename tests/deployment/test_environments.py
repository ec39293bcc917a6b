"""Where training runs in companies: read-only layers, other users, no home folder, folders on PYTHONPATH, archives.

Each test trains once and asserts the same: the run has its Task with code, console and metrics, and no line was logged.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipapp
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags, scalars
from tests.end_to_end.processes import Finished
from tests.startup.environment import Environment

SCRIPT = """
import mlflow
with mlflow.start_run(run_name="deployed"):
    mlflow.log_metric("loss", 0.5, step=1)
    print("trained")
"""
ANYBODY = 54321
"""A user without an entry in the password file, as Kubernetes' `runAsUser` makes; MLflow 3 then needs a HOME."""
NOBODY = 65534


def is_mirrored(place: Place, server: ClearMLServer, done: Finished) -> dict[str, Any]:
    """Check the run of a script that has ended, and return its Task."""
    assert (done.code, done.stdout) == (0, "trained\n"), done.stderr
    run = place.the_run()
    assert link_tags(run).get("state") == "synced", done.stderr
    assert [line for line in done.agent_lines if "is ClearML Task" not in line] == []
    task = ended(server, run.info.run_id)
    assert task["status"] == "completed"
    assert scalars(server, task["id"]) == place.points(run.info.run_id)
    assert "trained" in server.console(task["id"])
    return task


def as_another_user(place: Place, user: int = ANYBODY, before: str = "") -> None:
    """Let the place's scripts run as a user who may read everything, as in an image, but write only its own folder."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("only root can become another user, with setpriv")
    reading = "--inh-caps=+dac_read_search --ambient-caps=+dac_read_search"
    wrapper = place.root / "python"
    become = f"--reuid={user} --regid={user} --clear-groups"
    wrapper.write_text(f'#!/bin/sh\n{before}\nexec setpriv {become} {reading} {place.python} "$@"\n')
    wrapper.chmod(0o755)
    for path in (place.root, *place.root.rglob("*")):
        os.chown(path, user, user)
    probe = subprocess.run(
        [wrapper, "-c", "import os; print(os.getuid())"], capture_output=True, text=True, check=False
    )
    if probe.stdout != f"{user}\n":
        pytest.skip(f"another user cannot run this Python: {probe.stderr}")
    place.python = str(wrapper)


@pytest.fixture
def read_only(place: Place, own_environment: Environment) -> Iterator[None]:
    """The environment's files are read-only, for its owner too."""
    place.python = str(own_environment.python)
    paths = [own_environment.folder, *own_environment.folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths if not path.is_symlink()}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    yield
    for path, mode in modes.items():
        path.chmod(mode)


@pytest.mark.usefixtures("read_only")
@pytest.mark.parametrize(("user", "before"), [(ANYBODY, "export HOME=/"), (NOBODY, "unset HOME")])
def test_another_user_read_only_site_packages_and_no_home(
    place: Place, server: ClearMLServer, user: int, before: str
) -> None:
    as_another_user(place, user, before)
    place.environ |= {"AUTOINSTRUMENT_HOME": "", "PYTHONNOUSERSITE": "1"}
    is_mirrored(place, server, place.run(SCRIPT))
    assert [path.name for path in place.folder.iterdir()] == ["train.py"]


def test_undelivered_data_is_kept_without_a_home(place: Place, server: ClearMLServer) -> None:
    as_another_user(place)
    place.environ |= {"AUTOINSTRUMENT_HOME": "", "HOME": "/nonexistent"}
    done = place.run(SCRIPT, CLEARML_API_SECRET_KEY="wrong")
    assert link_tags(place.the_run()) == {"state": "pending"}
    assert "autoinstrument sync" in done.stderr
    (kept,) = place.temporary.glob("autoinstrument-state-*")
    assert kept.stat().st_mode & 0o777 == 0o700
    synced = place.command("sync")
    assert synced.code == 0, synced.stderr
    assert "trained" in server.console(ended(server, place.the_run().info.run_id)["id"])


def test_a_folder_of_another_user_is_not_used(place: Place, server: ClearMLServer) -> None:
    """Anybody can make a folder of that name in the temporary folder."""
    as_another_user(place)
    foreign = place.temporary / f"autoinstrument-state-{ANYBODY}"
    foreign.mkdir(mode=0o777)
    foreign.chmod(0o777)
    place.environ |= {"AUTOINSTRUMENT_HOME": "", "HOME": "/nonexistent"}
    assert place.run(SCRIPT).code == 0
    assert link_tags(place.the_run())["state"] == "synced"
    assert list(foreign.iterdir()) == []


def test_a_home_folder_without_search_permission(place: Place) -> None:
    """`USER nobody` of an image keeps HOME=/root. Privileges are dropped late: `nobody` cannot start this Python."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    code = f"""
        import os
        from autoinstrument.journal.state_folder import home
        from autoinstrument.settings import Settings
        os.setgroups([])
        os.setgid({NOBODY})
        os.setuid({NOBODY})
        print(home(Settings()))
        """
    os.chown(place.temporary, NOBODY, NOBODY)
    place.root.chmod(0o711)
    os.chown(place.root / "user", NOBODY, NOBODY)
    done = place.run(code, HOME=str(place.root / "user" / "me"), agent=False)
    assert done.stdout == f"{place.root}/user/me/.local/state/autoinstrument\n", done.stderr
    os.chown(place.root / "user", 0, 0)
    (place.root / "user").chmod(0o700)
    done = place.run(code, HOME=str(place.root / "user" / "me"), agent=False)
    assert done.stdout == f"{place.temporary}/autoinstrument-state-{NOBODY}\n", done.stderr


def test_the_hook_on_pythonpath_of_an_environment_without_it(
    place: Place, server: ClearMLServer, hook: Path, foreign_environment: Environment
) -> None:
    """A Kubernetes init container mounts it beside an image that does not have it."""
    place.python = str(foreign_environment.python)
    place.environ["PYTHONPATH"] = str(hook)
    is_mirrored(place, server, place.run(SCRIPT))


def test_the_hook_on_pythonpath_as_a_zip_file(
    place: Place, server: ClearMLServer, hook: Path, foreign_environment: Environment
) -> None:
    place.python = str(foreign_environment.python)
    place.environ["PYTHONPATH"] = shutil.make_archive(str(place.root / "hook"), "zip", hook)
    is_mirrored(place, server, place.run(SCRIPT))


def test_a_training_that_is_a_zipapp(place: Place, server: ClearMLServer) -> None:
    place.write("app/__main__.py", SCRIPT)
    zipapp.create_archive(place.folder / "app", place.folder / "train.pyz")
    task = is_mirrored(place, server, place.run("", command=["train.pyz"]))
    assert task["script"]["diff"] == (place.folder / "app" / "__main__.py").read_text()


@pytest.mark.parametrize("hidden", [False, True], ids=["user site", "PYTHONNOUSERSITE"])
def test_an_installation_for_the_user_alone(
    place: Place, server: ClearMLServer, wheel: Path, foreign_environment: Environment, hidden: bool
) -> None:
    """`pip install --user`: PYTHONNOUSERSITE hides the hook with all else that is there."""
    environment = foreign_environment.copy(place.root / "venv")
    settings = environment.folder / "pyvenv.cfg"
    settings.write_text(
        settings.read_text().replace("include-system-site-packages = false", "include-system-site-packages = true")
    )
    base = place.root / "user-base"
    place.environ |= {"PYTHONUSERBASE": str(base), **({"PYTHONNOUSERSITE": "1"} if hidden else {})}
    folder = base / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "install", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(folder), str(wheel)], check=True)
    place.python = str(environment.python)
    done = place.run(SCRIPT)
    if hidden:
        assert (done.code, done.agent_lines, link_tags(place.the_run())) == (0, [], {})
    else:
        is_mirrored(place, server, done)


def test_a_crontabs_environment(place: Place, server: ClearMLServer) -> None:
    """Five variables, `sh`, and the configuration in the home folder."""
    place.write("train.py", SCRIPT)
    environ = place.environment()
    (place.root / "user" / "clearml.conf").write_text(
        f"api {{ api_server: {environ['CLEARML_API_HOST']}, web_server: {environ['CLEARML_WEB_HOST']}\n"
        f"files_server: {environ['CLEARML_FILES_HOST']}, credentials {{\n"
        f'access_key: "{environ["CLEARML_API_ACCESS_KEY"]}", secret_key: "{environ["CLEARML_API_SECRET_KEY"]}" }} }}\n'
    )
    cron = {"HOME": environ["HOME"], "LOGNAME": "trainer", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin", "LANG": "C"}
    names = (
        "AUTOINSTRUMENT_ENABLED",
        "AUTOINSTRUMENT_EXIT_TIMEOUT",
        "AUTOINSTRUMENT_WORKER_LINGER",
        "MLFLOW_TRACKING_URI",
        "TMPDIR",
    )
    variables = {key: environ[key] for key in names}
    line = f"cd {place.folder} && {place.python} train.py"
    done = subprocess.run(
        ["/bin/sh", "-c", line], env=cron | variables, capture_output=True, text=True, check=False, timeout=200
    )
    is_mirrored(place, server, Finished(done.returncode, done.stdout, done.stderr, 0))


def test_a_kernel_that_is_switched_on_by_its_specification(place: Place, server: ClearMLServer) -> None:
    """`env` of kernel.json; the server's own environment has no variable of the agent."""
    folder = place.root / "kernels" / "training"
    folder.mkdir(parents=True)
    command = [place.python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    switched = {key: value for key, value in place.environment().items() if key.startswith("AUTOINSTRUMENT_")}
    specification = {"argv": command, "display_name": "training", "language": "python", "env": switched}
    (folder / "kernel.json").write_text(json.dumps(specification))
    specifications = KernelSpecManager(kernel_dirs=[str(folder.parent)])
    kernel = KernelManager(kernel_name="training", kernel_spec_manager=specifications)
    kernel.start_kernel(env=place.environment(agent=False), cwd=str(place.folder))
    client = kernel.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=120)
        client.execute_interactive(SCRIPT, timeout=120, output_hook=lambda message: None)
        task = ended(server, place.the_run().info.run_id)
    finally:
        client.stop_channels()
        kernel.shutdown_kernel()
    assert "mlflow.start_run" in task["script"]["diff"]
    assert link_tags(place.the_run())["task_id"] == task["id"]
