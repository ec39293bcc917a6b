"""Virtual environments with the built wheel, and the results of their Python processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

_OURS_TO_SET = ("PYTHON", "VIRTUAL_ENV", "AUTOINSTRUMENT_", "MLFLOW_", "CLEARML_", "TRAINS_", "XDG_", "COV_", "PIP_")


def clean_environ(home: Path) -> dict[str, str]:
    """Return this process's variables without those that change how Python, MLflow, ClearML or the agent behave."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS_TO_SET)}
    # MLflow's own telemetry and ClearML's configuration file stay out of the tests, and no test leaves a worker behind.
    kept |= {"MLFLOW_DISABLE_TELEMETRY": "true", "CLEARML_CONFIG_FILE": os.devnull}
    return {**kept, "HOME": str(home), "AUTOINSTRUMENT_WORKER_LINGER": "0"}


class Environment:
    """A virtual environment; it lasts as long as the test session, so tests must leave it as they found it."""

    def __init__(self, folder: Path, interpreter: str = sys.executable) -> None:
        self.folder = folder
        self.home = folder.parent / f"{folder.name}-home"
        self.home.mkdir(parents=True)
        subprocess.run([interpreter, "-m", "venv", "--without-pip", str(folder)], check=True)
        self.python = folder / "bin" / "python"
        self.site_packages = Path(
            self.run("-Ic", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
        )

    def install(self, wheel: Path) -> Environment:
        """Install a wheel without its dependencies, as pip does it."""
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(self.python)]
        subprocess.run([*pip, "-q", "install", "--no-deps", "--no-index", str(wheel)], check=True)
        return self

    def add_to_path(self, *folders: str) -> Environment:
        """Let it import from other folders, after its own."""
        (self.site_packages / "other-folders.pth").write_text("".join(f"{folder}\n" for folder in folders))
        return self

    def copy(self, folder: Path) -> Environment:
        """Return a copy of it, to be broken."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return self.found(folder, self.home)

    @classmethod
    def found(cls, folder: Path, home: Path) -> Environment:
        """Return an environment that is there already, with a home of the caller's."""
        new = object.__new__(cls)
        new.folder, new.home, new.python = folder, home, folder / "bin" / "python"
        (new.site_packages,) = folder.glob("lib/python*/site-packages")
        return new

    def run(
        self, *arguments: object, env: dict[str, str] | None = None, cwd: Path | None = None, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run its Python, and fail where that fails."""
        done = subprocess.run(
            [str(self.python), *map(str, arguments)], env={**clean_environ(self.home), **(env or {})},
            cwd=cwd or self.home, input=stdin, capture_output=True, text=True, timeout=480, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done

    def result(self, *arguments: object, **options: Any) -> Any:
        """Run its Python, which prints JSON and must print nothing else on stdout or stderr."""
        done = self.run(*arguments, **options)
        assert done.stderr == ""
        return json.loads(done.stdout)


def find_interpreter(version: str) -> str:
    """Return the path of a Python of a version, "" where the machine has none that runs."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"versions/{version}.*/bin/python"))]
    for candidate in filter(None, candidates):
        code = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
        try:
            done = subprocess.run([candidate, "-Ic", code], capture_output=True, text=True, timeout=240, check=False)
        except OSError:
            continue
        if done.stdout.strip() == version:
            return str(candidate)
    return ""
