"""Options that cannot be combined, and invalid arguments: one line with the reason, exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from autoinstrument.cli import main


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ["sync", "--all", "--run", "x"],
            "`--all` selects all runs: it cannot be combined with `--experiment` or `--run`",
        ),
        (["sync", "--deleted"], "`--since` and `--deleted` need `--all` or `--experiment`"),
        (["sync", "--since", "2026-01-01", "--run", "x"], "`--since` and `--deleted` need `--all` or `--experiment`"),
        (["sync", "--all", "--health", ":8080"], "`--health` can be used with `--follow` only"),
        (["sync", "--dead-after", "60"], "`--dead-after` can be used with `--follow` only"),
        (["sync", "--follow", "--dry-run"], "`--follow` and `--dry-run` cannot be combined"),
        (["explain", "--", "no-such-program"], "no-such-program: there is no such command"),
        (["run", "--json", "--", "true"], "`--json` can be used with `--check` only"),
        (
            ["remote", "--queue", "q", "--", "python", "-c", "x"],
            "expected a script or `-m module`, as in: -- python train.py --lr 0.1",
        ),
        (["remote", "--queue", "q", "--", "none.py"], "there is no none.py in this folder"),
        (
            ["remote", "--queue", "q", "--", "git", "run", "train"],
            "an agent starts Python, not git: give the script or module that git starts, "
            "as in: -- python -m package.train",
        ),
        (["remote", "--queue", "q", "--", "python", "-m", "pkg.none"], "there is no pkg.none in this folder"),
        (
            ["remote", "--queue", "q", "--", "python", "train.py", "--api-key", "sesame"],
            "the command line holds a secret, which must not travel: leave it out, and set it on the agent's machine",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], message: str) -> None:
    (tmp_path / "train.py").write_text("")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, command)
    assert (done.exit_code, done.output.splitlines()[-1]) == (2, f"Error: {message}")
