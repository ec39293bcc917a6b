"""What `status` prints of runs that wait."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from autoinstrument.cli import main
from autoinstrument.journal.run_journal import RunJournal
from tests.unit.mirror.runs import PROCESS
from tests.unit.test_untrusted_data import RUN


def test_runs_that_wait_for_the_same_reason_share_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, reason in (("one", "no answer"), ("two", "no answer"), ("three", "refused")):
        run = RUN._replace(run_id=name, run_name=name, run_url="")
        journal = RunJournal(tmp_path / "captures" / name, run, PROCESS)
        journal.end = {"status": "completed", "reason": "", "message": ""}
        journal.reason = reason
        journal.save()
    monkeypatch.setenv("AUTOINSTRUMENT_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'none.db'}")
    done = CliRunner().invoke(main, ["status"])
    assert done.exit_code == 1, "the store is missing"
    for reason in ("no answer", "refused"):
        assert done.output.count(f"\n  it has no Task yet: {reason}; `autoinstrument sync` completes it\n") == 1
    assert {"one (one), two (two)", "two (two), one (one)"} & set(done.output.splitlines())
