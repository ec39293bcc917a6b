"""ClearML's own switches are followed: while one of them keeps ClearML out, nothing is sent by anything."""

from __future__ import annotations

import textwrap

import pytest

from autoinstrument.clearml_switches import switched_off
from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags, section
from tests.end_to_end.processes import wait_for

SCRIPT = """
    import mlflow
    with mlflow.start_run():
        mlflow.log_param("lr", 0.1)
        mlflow.log_metric("loss", 0.5)
        mlflow.log_text("a text", "notes.txt")
        print("trained")
    """
VARIABLES = [f"{prefix}_{name}" for prefix in ("CLEARML", "TRAINS") for name in ("OFFLINE_MODE", "LOG_TASK_TO_BACKEND")]


@pytest.fixture(autouse=True)
def no_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "CLEARML_TASK_ID", "TRAINS_TASK_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("word", ["1", "TRUE", " yes ", "on", "0", "Off", "f", "no", "2.30", "nonsense", "", " "])
@pytest.mark.parametrize("variable", VARIABLES)
def test_switch_words_mean_the_same_as_in_clearml(monkeypatch: pytest.MonkeyPatch, variable: str, word: str) -> None:
    from clearml.backend_api.session.defs import ENV_OFFLINE_MODE
    from clearml.config.defs import LOG_TO_BACKEND_ENV_VAR

    monkeypatch.setenv(variable, word)
    is_off = bool(ENV_OFFLINE_MODE.get()) or not LOG_TO_BACKEND_ENV_VAR.get(default=True)
    assert switched_off() == (f"{variable}={word.strip()}" if is_off else "")


def test_names_with_clearml_precede_those_with_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARML_OFFLINE_MODE", "0")
    monkeypatch.setenv("TRAINS_OFFLINE_MODE", "1")
    assert switched_off() == ""


def test_an_agents_own_setting_is_not_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent sets the variable for each program that it runs."""
    monkeypatch.setenv("CLEARML_LOG_TASK_TO_BACKEND", "0")
    monkeypatch.setenv("CLEARML_TASK_ID", "1" * 32)
    assert switched_off() == ""
    monkeypatch.setenv("CLEARML_OFFLINE_MODE", "1")
    assert switched_off() == "CLEARML_OFFLINE_MODE=1"


@pytest.mark.parametrize(
    ("switch", "worker"), [("CLEARML_OFFLINE_MODE=1", "process"), ("CLEARML_LOG_TASK_TO_BACKEND=0", "thread")]
)
def test_nothing_is_sent_and_the_run_is_recorded(
    own_place: Place, own_server: ClearMLServer, switch: str, worker: str
) -> None:
    name, _, value = switch.partition("=")
    done = own_place.run(SCRIPT, **{name: value, "AUTOINSTRUMENT_WORKER": worker})
    assert done.code == 0, done.stderr
    (line,) = done.agent_lines
    assert f"nothing is sent to ClearML while {switch} is set" in line
    assert "`autoinstrument sync`" in line
    run = own_place.the_run()
    assert link_tags(run) == {"state": "pending"}
    wait_for(lambda: not own_place.left_behind())
    for command in ("sync", "sync --all", f"verify {run.info.run_id}", "doctor", "remote --queue some train.py"):
        refused = own_place.command(*command.split(), **{name: value})
        assert (refused.code, switch in refused.stdout + refused.stderr) == (1, True), (command, refused)
    assert own_server.requests == []
    assert own_place.command("sync").code == 0
    task = ended(own_server, run.info.run_id)
    assert task["status"] == "completed"
    assert section(task, "MLflow") == {"lr": "0.1"}
    assert "trained" in own_server.console(task["id"])


@pytest.mark.parametrize("switch", ["CLEARML_OFFLINE_MODE=1", "CLEARML_LOG_TASK_TO_BACKEND=0"])
def test_nothing_leaves_the_machine(own_place: Place, own_server: ClearMLServer, switch: str) -> None:
    """Python itself reports each connection and each name that is looked up, whichever library asks for it."""
    name, _, value = switch.partition("=")
    environ = {name: value, "AUTOINSTRUMENT_WORKER": "thread", "CLEARML_API_HOST": "http://clearml.example:8008"}
    listening = """
        import atexit, os, socket, sys
        LOOKED_UP = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"}
        asked = open("asked", "a", buffering=1)
        def listen(event, arguments):
            if event in LOOKED_UP:
                print(event, *arguments, file=asked)
            elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
                if arguments[0].family != getattr(socket, "AF_UNIX", None):
                    print(event, arguments[1:], file=asked)
        sys.addaudithook(listen)
        """
    done = own_place.run(textwrap.dedent(listening) + textwrap.dedent(SCRIPT), **environ)
    assert done.code == 0, done.stderr
    assert len(own_place.journals()) == 1
    assert (own_place.folder / "asked").read_text() == ""

    done = own_place.run(textwrap.dedent(listening) + textwrap.dedent(SCRIPT), **{**environ, name: ""})
    assert done.code == 0, done.stderr
    assert "clearml.example" in (own_place.folder / "asked").read_text(), "else this test notices nothing"


def test_a_script_that_sets_clearml_offline(sdk_place: Place, own_server: ClearMLServer) -> None:
    """From then on runs are recorded; the Task that the SDK keeps in a folder is not taken over."""
    done = sdk_place.run("""
        import mlflow
        with mlflow.start_run(run_name="before"):
            pass
        from clearml import Task
        Task.set_offline(True)
        Task.init("project", "task", auto_connect_frameworks=False, auto_resource_monitoring=False)
        with mlflow.start_run(run_name="offline"):
            mlflow.log_metric("loss", 0.5)
        """)
    assert done.code == 0, done.stderr
    assert ended(own_server, sdk_place.run_named("before").info.run_id)["status"] == "completed"
    offline = sdk_place.run_named("offline")
    assert link_tags(offline) == {"state": "pending"}
    assert len(own_server.tasks) == 1
    assert sdk_place.command("sync").code == 0
    assert ended(own_server, offline.info.run_id)["status"] == "completed"


def test_uncommitted_code_is_not_sent_if_clearml_is_configured_so(own_place: Place, own_server: ClearMLServer) -> None:
    """Neither the Task nor the journal has it, whatever part of the agent reads the setting."""
    script = "import mlflow\npassword = 'hunter2'\nwith mlflow.start_run():\n    pass\n"
    settings = own_place.root / "clearml.conf"
    settings.write_text("sdk { development { store_uncommitted_code_diff: false } }")
    own_place.environ["CLEARML_CONFIG_FILE"] = str(settings)
    done = own_place.run(script)
    assert done.code == 0, done.stderr
    (run,) = own_place.mlflow_runs()
    task = ended(own_server, run.info.run_id)
    assert (task["script"]["entry_point"], task["script"].get("diff", "")) == ("train.py", "")

    own_place.run(script, CLEARML_OFFLINE_MODE="1")
    (journal,) = own_place.journals()
    assert "hunter2" not in (journal / "capture.json").read_text()

    queued = own_place.command("remote", "--queue", "some", "train.py")
    assert queued.code == 0, queued.stderr
    assert not any("hunter2" in str(task) for task in own_server.tasks)


def test_code_that_was_recorded_under_other_settings_is_not_sent(own_place: Place, own_server: ClearMLServer) -> None:
    own_place.run("import mlflow\npassword = 'hunter2'\nwith mlflow.start_run():\n    pass\n", CLEARML_OFFLINE_MODE="1")
    (journal,) = own_place.journals()
    assert "hunter2" in (journal / "capture.json").read_text()
    settings = own_place.root / "clearml.conf"
    settings.write_text("sdk { development { store_uncommitted_code_diff: false } }")
    assert own_place.command("sync", CLEARML_CONFIG_FILE=str(settings)).code == 0
    assert not any("hunter2" in str(task) for task in own_server.tasks)
