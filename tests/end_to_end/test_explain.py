"""`explain` names the failed step of a command, or, without a command, the steps of this environment."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, link_tags
from tests.end_to_end.processes import Finished

RUN = "import mlflow, sys\nwith mlflow.start_run():\n    mlflow.log_metric('loss', 1)\nprint('trained')\n"


def explain(place: Place, *command: str, text: str = RUN, **environ: str) -> Finished:
    place.write("train.py", text)
    return place.command(
        "explain", *(["--", *command] if command else []), **{"AUTOINSTRUMENT_ENABLED": "1", **environ}
    )


def failed(done: Finished) -> list[str]:
    return [line for line in done.stdout.splitlines() if line.startswith("✗")]


def test_a_linked_run(place: Place, server: ClearMLServer) -> None:
    done = explain(place, "python", "train.py")
    assert done.code == 0, done.stdout
    assert done.stdout.startswith("trained\n")
    run = place.the_run()
    assert f"✓ Task of run {run.info.run_id}: {link_tags(run)['task_url']}" in done.stdout
    assert [line[0] for line in done.stdout.splitlines()[1:]] == ["✓"] * 8
    assert "\x1b" not in done.stdout
    assert len(done.stderr.splitlines()) == 1, "what the agent says itself, and nothing more"


CASES: list[tuple[str, str, list[str], dict[str, str], str]] = [
    ("switch", RUN, [], {"AUTOINSTRUMENT_ENABLED": ""}, "✗ switch: not set"),
    ("nonsense", RUN, [], {"AUTOINSTRUMENT_ENABLED": "maybe"}, "✗ switch: AUTOINSTRUMENT_ENABLED=maybe"),
    ("no start-up", RUN, ["-S"], {}, "✗ start-up file: none has run"),
    ("no mlflow", "print('nothing')", [], {}, "✗ MLflow imported: 0 modules seen"),
    ("no run", "import mlflow", [], {}, "✗ run begun: 0 in all"),
    (
        "died before",
        "import mlflow; mlflow.set_experiment(' ' * 600)",
        [],
        {"MLFLOW_TRACKING_URI": "nowhere://there"},
        "✗ run begun: 0 in all",
    ),
    (
        "bad setting",
        RUN,
        [],
        {"AUTOINSTRUMENT_WORKER": "fiber"},
        "✗ version and settings: AUTOINSTRUMENT_WORKER='fiber'",
    ),
]


@pytest.mark.parametrize(
    ("text", "options", "environ", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_the_step_that_failed(
    place: Place, text: str, options: list[str], environ: dict[str, str], expected: str
) -> None:
    done = explain(place, "python", *options, "train.py", text=text, **environ)
    assert done.code == 1
    (line,) = failed(done)
    assert line.startswith(expected)
    remedy = done.stdout[done.stdout.index(line) :].splitlines()[1]
    assert remedy.startswith("  ")
    assert remedy.endswith(".")


def test_a_run_without_a_server_as_json(new_place: Callable[[ClearMLServer | None], Place]) -> None:
    """The command's own output stays out of the JSON, which has its exit code."""
    place = new_place(None)
    place.write("train.py", RUN + "sys.exit(3)\n")
    done = place.command("explain", "--json", "--", "python", "train.py", AUTOINSTRUMENT_ENABLED="1")
    report: dict[str, Any] = json.loads(done.stdout)
    assert (done.code, report["ok"], report["exit_code"]) == (1, False, 3)
    (bad,) = [step for step in report["steps"] if step["ok"] is False]
    assert "credentials" in bad["detail"]
    assert "trained" in done.stderr


def test_the_steps_of_this_environment(place: Place) -> None:
    done = explain(place)
    assert (done.code, failed(done)) == (0, [])
    assert "wrappers placed" in done.stdout
    done = explain(place, AUTOINSTRUMENT_ENABLED="")
    assert done.code == 1
    assert failed(done) == ["✗ switch: not set"]


def test_a_command_that_cannot_be_started(place: Place) -> None:
    done = explain(place, "no-such-program")
    assert done.code == 2
    assert "no-such-program: there is no such command" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_ascii_pipe(place: Place) -> None:
    done = explain(place, AUTOINSTRUMENT_ENABLED="", PYTHONIOENCODING="ascii")
    assert done.code == 1
    assert "!! switch: not set" in done.stdout
