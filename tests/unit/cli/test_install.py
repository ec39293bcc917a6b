"""`install` and `uninstall` for a folder on PYTHONPATH, in one process; environments are in tests/end_to_end."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from autoinstrument.cli import main
from autoinstrument.cli.hook_files import MANIFEST, SITECUSTOMIZE, sitecustomize
from autoinstrument.journal.run_journal import RunJournal
from tests.unit.mirror.runs import PROCESS
from tests.unit.test_untrusted_data import RUN


def command(*words: object) -> Result:
    return CliRunner().invoke(main, list(map(str, words)))


def test_the_start_up_file_comes_and_goes(tmp_path: Path) -> None:
    done = command("install", "--target", tmp_path)
    assert done.exit_code == 0
    assert done.output.splitlines()[0] == f"{tmp_path / SITECUSTOMIZE} written"
    assert f"set PYTHONPATH={tmp_path} and AUTOINSTRUMENT_ENABLED=1 to switch it on" in done.output
    assert (tmp_path / SITECUSTOMIZE).read_bytes() == sitecustomize()
    assert list(json.loads((tmp_path / MANIFEST).read_text())["files"]) == [SITECUSTOMIZE]
    assert "is in place already" in command("install", "--target", tmp_path).output
    done = command("uninstall", "--target", tmp_path)
    assert (done.exit_code, done.output) == (0, f"{tmp_path / SITECUSTOMIZE} removed\n")
    assert list(tmp_path.iterdir()) == []
    assert command("uninstall", "--target", tmp_path).output == f"nothing to remove in {tmp_path}\n"


def test_the_file_of_another_tool_stays(tmp_path: Path) -> None:
    (tmp_path / SITECUSTOMIZE).write_text("other = 1\n")
    done = command("install", "--target", tmp_path)
    assert done.exit_code == 1
    assert f"{tmp_path / SITECUSTOMIZE} exists and is not a file of autoinstrument; use another folder" in done.output
    assert (tmp_path / SITECUSTOMIZE).read_text() == "other = 1\n"


def test_a_file_that_was_changed_stays(tmp_path: Path) -> None:
    command("install", "--target", tmp_path)
    (tmp_path / SITECUSTOMIZE).write_text("changed = 1\n")
    done = command("uninstall", "--target", tmp_path)
    assert (done.exit_code, "was changed since and stays" in done.output) == (1, True)
    assert (tmp_path / SITECUSTOMIZE).exists()


def test_a_folder_that_does_not_exist_or_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the file itself, and not the temporary one."""
    done = command("install", "--target", tmp_path / "none")
    assert (done.exit_code, "does not exist; name an interpreter" in done.output) == (1, True)

    def refuse(path: os.PathLike[str], *_: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    done = command("install", "--target", tmp_path)
    assert done.exit_code == 1
    assert f"{tmp_path / SITECUSTOMIZE}: permission denied; run it as a user who may write there" in done.output


def test_journals_are_deleted_on_request_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, target = tmp_path / "home", tmp_path / "target"
    target.mkdir()
    monkeypatch.setenv("AUTOINSTRUMENT_HOME", str(home))
    assert f"{home} does not exist" in command("uninstall", "--target", target, "--purge", "--yes").output
    journal = RunJournal(home / "captures" / "r", RUN, PROCESS)
    journal.save()
    (journal.folder / ".capture.json.12-ab.part").touch()  # of a worker that was killed
    (home / "worker.log").touch()
    done = command("uninstall", "--target", target, "--purge")
    assert (done.exit_code, "add `--yes`" in done.output) == (2, True)
    assert journal.is_there
    done = command("uninstall", "--target", target, "--purge", "--yes")
    assert done.output.splitlines()[-1] == f"{home} removed"
    assert not home.exists()
