"""`doctor`: no problem in a healthy environment, and a remedy for each problem."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.hand_over import VARIABLE
from tests.end_to_end.harness import Place


def findings(place: Place, **environ: str) -> tuple[int, dict[str, dict[str, Any]]]:
    done = place.command("doctor", "--json", AUTOINSTRUMENT_ENABLED="1", **environ)
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report["ok"] is (done.code == 0)
    return done.code, {check["what"]: check for check in report["checks"]}


def wrong(found: dict[str, dict[str, Any]]) -> set[str]:
    bad = [check for check in found.values() if check["ok"] is False]
    assert all(check["remedy"].endswith(".") for check in bad)
    return {check["what"] for check in bad}


def test_a_healthy_environment(place: Place, server: ClearMLServer) -> None:
    done = place.command("doctor", AUTOINSTRUMENT_ENABLED="1", **{VARIABLE: ""})  # its probes are new interpreters
    assert (done.code, done.stderr) == (0, ""), done.stdout
    text = done.stdout
    assert "✗" not in text
    assert text.endswith("\nno problem found\n")
    assert "\x1b" not in text
    for words in (
        "autoinstrument-init.pth: as shipped, runs", "AUTOINSTRUMENT_ENABLED=1: on", "functions of MLflow",
        f"{server.api_url} accepts the credentials", "CLEARML_API_ACCESS_KEY (environment)", "sqlite:///",
        "ClearML round trip", "✓ clock: ClearML's agrees with this machine's", "0 pending",
        "have their defaults",
    ):  # fmt: skip
        assert words in text, words
    for noise in ("(default)", "not used by this Python", "not in this version"):
        assert noise not in text
    assert server.credentials.secret_key not in text


def test_no_configuration_and_a_store_that_does_not_answer(new_place: Callable[[ClearMLServer | None], Place]) -> None:
    place = new_place(None)
    place.run("import mlflow; mlflow.start_run()")
    code, found = findings(place, MLFLOW_TRACKING_URI="http://user:sesame@127.0.0.1:9")
    assert code == 1
    assert wrong(found) == {"ClearML configuration", "MLflow tracking server", "recorded runs"}
    assert "cannot be reached" in found["MLflow tracking server"]["detail"]
    assert "sesame" not in json.dumps(found)
    assert found["recorded runs"]["detail"].startswith("1 pending")


def test_the_switch_is_off(place: Place) -> None:
    """Nothing would be linked."""
    done = place.command("doctor")
    assert done.code == 1
    lines = done.stdout.splitlines()
    at = lines.index("✗ switch: AUTOINSTRUMENT_ENABLED=: off")
    assert lines[at + 1].startswith("  Set AUTOINSTRUMENT_ENABLED=1")
    assert [line for line in lines if line.startswith("✗")] == [lines[at]]
    assert lines[-1] == "problems: switch"


def test_a_folder_of_journals_that_is_a_link(place: Place) -> None:
    place.home.symlink_to(place.folder)
    code, found = findings(place, AUTOINSTRUMENT_HOME=str(place.home))
    assert code == 1
    assert wrong(found) == {"folder of journals"}


def test_a_store_of_no_known_kind_and_a_folder_that_cannot_be_made(place: Place) -> None:
    (place.root / "file").touch()
    more = {"MLFLOW_TRACKING_URI": "nowhere://me:sesame@there", "AUTOINSTRUMENT_HOME": str(place.root / "file" / "x")}
    code, found = findings(place, **more)
    assert code == 1
    assert wrong(found) == {"MLflow tracking store", "folder of journals"}
    assert "nowhere" in found["MLflow tracking store"]["detail"]
    assert "sesame" not in json.dumps(found)
    assert found["folder of journals"]["detail"] == f"{place.root / 'file'} is not a folder"


def test_wrong_credentials_and_settings(place: Place) -> None:
    code, found = findings(
        place, CLEARML_API_SECRET_KEY="not-the-secret", AUTOINSTRUMENT_WORKER="fiber", AUTOINSTRUMENT_PROJEKT="x"
    )
    assert code == 1
    assert wrong(found) >= {"ClearML server", "AUTOINSTRUMENT_WORKER", "AUTOINSTRUMENT_PROJEKT"}
    assert "credentials" in found["ClearML server"]["detail"]
    assert "not-the-secret" not in json.dumps(found)


def test_a_server_that_hangs(own_place: Place, own_server: ClearMLServer) -> None:
    own_server.faults.add(Fault(action="hang"))
    code, found = findings(own_place)
    assert code == 1
    assert wrong(found) == {"ClearML server"}


def test_a_configuration_file(own_place: Place, own_server: ClearMLServer) -> None:
    """It is named, and its secret is not shown."""
    keys = own_server.credentials
    file = own_place.root / "clearml.conf"
    file.write_text(
        f'api {{ api_server: "{own_server.api_url}", web_server: "{own_server.web_url}", '
        f'files_server: "{own_server.files_url}", '
        f'credentials {{ access_key: "{keys.access_key}", secret_key: "{keys.secret_key}" }} }}'
    )
    own_place.server = None
    _, found = findings(own_place, CLEARML_CONFIG_FILE=str(file))
    assert str(file) in found["ClearML configuration"]["detail"]
    assert found["ClearML server"]["ok"] is True
    assert keys.secret_key not in json.dumps(found)


@pytest.mark.parametrize("agent_first", [True, False])
def test_sitecustomize_on_the_path(place: Place, agent_first: bool) -> None:
    """A foreign file earlier on the path keeps the agent's from running; the agent's file runs one that comes later."""
    agent, other = place.folder / "agent", place.folder / "other"
    for folder in (agent, other):
        folder.mkdir()
    (other / "sitecustomize.py").write_text("")
    place.command("install", "--target", str(agent))
    path = f"{agent}:{other}" if agent_first else f"{other}:{agent}"
    _, found = findings(place, PYTHONPATH=path)
    check = found[f"start-up file {agent / 'sitecustomize.py'}"]
    assert check["detail"] == ("as shipped, runs" if agent_first else f"shadowed by {other / 'sitecustomize.py'}")
    assert check["ok"] is True, "the .pth file is there, too"
