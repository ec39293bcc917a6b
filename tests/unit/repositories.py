from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autoinstrument.records import ProcessStarted

ROOT = Path(__file__).parents[2]


class Repository:
    """A working copy with a remote, both on disk."""

    def __init__(self, root: Path, remote: Path | None) -> None:
        self.root = root
        self.remote = remote
        if (root / ".git").exists():
            return
        root.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")
        if remote is not None:
            subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(remote)], check=True)
            self.git("remote", "add", "origin", str(remote))

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.root, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def commit(self, message: str = "Work") -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def push(self) -> None:
        self.git("push", "-q", "-u", "origin", "HEAD")


@pytest.fixture(autouse=True)
def git_settings(tmp_path_factory, monkeypatch):
    """Git as on a machine where only a user name is configured."""
    for name in [name for name in os.environ if name.startswith(("GIT_", "CLEARML_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(_made_once(tmp_path_factory.getbasetemp()) / "config"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@functools.cache
def _made_once(base):
    """Return a folder with Git's settings, and a working copy with its remote: ten calls of Git, to be copied."""
    folder = base / "git"
    folder.mkdir()
    (folder / "config").write_text('[user]\n\tname = A\n\temail = a@example.com\n[protocol "file"]\n\tallow = always\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", str(folder / "config"))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        made = Repository(folder / "repo", folder / "remote.git")
        made.write("train.py", "print('one')\n")
        made.write("src/pkg/__init__.py", "")
        made.write("src/pkg/train.py", "print('module')\n")
        made.commit()
        made.push()
    return folder


@pytest.fixture
def repository(tmp_path, tmp_path_factory):
    template = _made_once(tmp_path_factory.getbasetemp())
    for name in ("repo", "remote.git"):
        shutil.copytree(template / name, tmp_path / name, ignore=shutil.ignore_patterns("*.sample"))
    config = tmp_path / "repo" / ".git" / "config"
    config.write_text(config.read_text().replace(str(template), str(tmp_path)))
    return Repository(tmp_path / "repo", tmp_path / "remote.git")


@pytest.fixture
def process(tmp_path):
    """A process as it would be without a script; tests replace what they are about."""
    return ProcessStarted(
        pid=1, started_ms=0, host="host", user="user", python="3.11.7", executable=sys.executable, cwd=str(tmp_path),
        argv=[], main_kind="interactive", main_path="", main_module="", source="", sys_path=[], modules=[],
        arguments=[],
    )  # fmt: skip


@pytest.fixture
def run():
    """Run Python with this checkout on its path, return what it printed."""

    def run(*arguments, cwd=None, env=None, stdin="", check=True):
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=cwd, input=stdin, text=True, capture_output=True, timeout=60, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **(env or {})},
        )  # fmt: skip
        if check:
            assert done.returncode == 0, done.stderr
            return done.stdout
        return done

    return run
