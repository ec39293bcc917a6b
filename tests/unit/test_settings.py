"""The table of settings: defaults, allowed values, and one line for a wrong one."""

from __future__ import annotations

import pickle

import pytest

from autoinstrument.settings import (
    INTERNAL,
    SWITCH,
    TABLE,
    Settings,
    SettingsError,
    enabled,
    read_settings,
    with_task,
)


def test_without_variables_all_have_their_defaults() -> None:
    assert read_settings({}) == Settings()
    assert read_settings({setting.variable: "  " for setting in TABLE}) == Settings()


def test_every_setting_is_read_by_its_variable() -> None:
    given = Settings(
        project="a/{user}", task="{run_id}", artifacts="upload", scalars="name", worker="thread", worker_linger_s=0.0,
        exit_timeout_s=2.5, mlflow_ui="https://mlflow.example.com/ui", abort=False, note=True, traces=False,
        monitor_s=2.5, console="descriptors", home="/state", quiet=True, dead_after_s=60.0,
        experiments=("prod/*", "!x"), tags=("a", "team={team}"), publish=("champion", "Production"),
    )  # fmt: skip
    assert all(getattr(given, setting.field) != setting.default for setting in TABLE), "one is not tried"
    environ = {setting.variable: setting.text(getattr(given, setting.field)) for setting in TABLE}
    assert read_settings(environ) == given
    assert pickle.loads(pickle.dumps(given)) == given  # it travels to the workers of `sync --jobs` and `--dask`


def test_every_setting_is_documented() -> None:
    assert all(setting.meaning for setting in (SWITCH, *TABLE))
    assert len({setting.variable for setting in (SWITCH, *TABLE)} | {*INTERNAL}) == 1 + len(TABLE) + len(INTERNAL)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("WORKER", "fiber", "AUTOINSTRUMENT_WORKER='fiber' is not allowed: one of process, thread"),
        ("EXIT_TIMEOUT", "soon", "a number of seconds from 0 to 3600"),
        ("EXIT_TIMEOUT", "nan", "a number of seconds from 0 to 3600"),
        ("EXIT_TIMEOUT", "-1", "a number of seconds from 0 to 3600"),
        ("PROJECT", "{nothing}", "a template over {experiment} {user} {script}"),
        ("PROJECT", "{user!r}", "a template over"),
        ("TASK", "{run_name", "a template over {run_name} {run_id} {experiment} {script}"),
        ("MLFLOW_UI", "mlflow.example.com", "an http:// or https:// address"),
        ("MLFLOW_UI", "https://", "an http:// or https:// address"),
        ("MLFLOW_UI", "ftp://me:sesame@example.com", "'ftp://me:********@example.com' is not allowed"),
        ("EXPERIMENTS", "prod/*,!", "glob patterns, separated by commas; one that begins with ! excludes"),
        ("TAGS", "a,team={team", "tags, separated by commas; {NAME} stands for a tag or parameter of the run"),
        ("TAGS", "{}", "tags, separated by commas"),
        ("TAGS", "{team!r}", "tags, separated by commas"),
        ("QUIET", "banana", "one of 1, true, yes, on, 0, false, no, off"),
        ("ABORT", "maybe", "one of 1, true, yes, on, 0, false, no, off"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(variable: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read_settings({f"AUTOINSTRUMENT_{variable}": value})
    assert message in str(raised.value)


@pytest.mark.parametrize(("word", "value"), [("1", True), (" On ", True), ("YES", True), ("0", False), ("off", False)])
def test_words_of_a_switch(word: str, value: bool) -> None:
    assert read_settings({"AUTOINSTRUMENT_QUIET": word, "AUTOINSTRUMENT_ABORT": word}) == Settings(
        quiet=value, abort=value
    )
    assert enabled({"AUTOINSTRUMENT_ENABLED": word}) is value


@pytest.mark.parametrize("word", ["", "banana", "2", "1 1"])
def test_any_other_word_is_off_for_the_agent(word: str) -> None:
    assert not enabled({"AUTOINSTRUMENT_ENABLED": word})


def test_a_task_keeps_the_settings_that_decide_its_form() -> None:
    """All others, and all of them if one value is not allowed, are those of this environment."""
    here = Settings(task="{run_id}", artifacts="off", home="/here", exit_timeout_s=3.0)
    made = {"AUTOINSTRUMENT_TASK": "{experiment}", "AUTOINSTRUMENT_HOME": "/there", "AUTOINSTRUMENT_EXIT_TIMEOUT": "7"}
    assert with_task(here, made) == Settings(task="{experiment}", home="/here", exit_timeout_s=3.0)
    assert with_task(here, {**made, "AUTOINSTRUMENT_ARTIFACTS": "all"}) == here
