"""A `json.py` in the working directory, or a `clearml.py` beside the script, is never loaded by the agent."""

from __future__ import annotations

from pathlib import Path

from tests.clearml_server import ClearMLServer
from tests.end_to_end.hand_over import VARIABLE
from tests.end_to_end.harness import Place, ended

MARK = (
    "import os, pathlib; pathlib.Path({folder!r}, f'{name} in {{os.getpid()}}').touch()\nraise ImportError('foreign')\n"
)
IN_CWD = ("json", "logging", "socket", "clearml", "psutil", "platformdirs", "autoinstrument", "sitecustomize", "mlflow")
BESIDE_THE_SCRIPT = ("clearml", "platformdirs", "tenacity")


def plant(folder: Path, marks: Path, names: tuple[str, ...]) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.py").write_text(MARK.format(folder=str(marks), name=name))


def test_modules_of_the_working_directory_and_the_scripts_folder(place: Place, server: ClearMLServer) -> None:
    marks = place.root / "marks"
    marks.mkdir()
    place.environ[VARIABLE] = ""  # the agent's own processes import all that they need
    plant(place.folder, marks, IN_CWD)
    plant(place.folder / "scripts", marks, BESIDE_THE_SCRIPT)
    done = place.run("import mlflow\nwith mlflow.start_run(): print('trained')", name="scripts/train.py")
    assert (done.code, done.stdout) == (0, "trained\n"), done.stderr
    assert ended(server, place.the_run().info.run_id)["status"] == "completed"
    for command in (["doctor"], ["status"], ["sync"], ["explain"]):
        done = place.command(*command, AUTOINSTRUMENT_ENABLED="1", AUTOINSTRUMENT_HOME=str(place.home))
        assert done.code == 0, done.stdout + done.stderr
    assert [path.name for path in marks.iterdir()] == []
