"""The recipe of a Task, as an agent would read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autoinstrument.reproduction.recipe import program_words, recipe_of
from autoinstrument.scrubber import MASK


def task(entry: str = "train.py", section: str = "Args", /, **values: str) -> dict[str, Any]:
    items = {name: {"name": name, "value": value} for name, value in values.items()}
    return {"id": "t" * 32, "name": "bold-ant", "script": {"entry_point": entry}, "hyperparams": {section: items}}


def with_line(task: dict[str, Any], *groups: list[str]) -> dict[str, Any]:
    argument = {
        "name": "lr", "value": "0.1", "type": "float", "default": "0.5", "form": "value", "options": {"--lr": 1},
        "flags": {}, "level": 0,
    }  # fmt: skip
    line = json.dumps({"arguments": [argument], "words": list(groups)})
    return {**task, "configuration": {"command line": {"name": "command line", "value": line}}}


def test_the_typed_words_with_edited_values() -> None:
    typed = ["lr", "--lr", "0.1"], ["", "extra"]
    assert recipe_of(with_line(task(lr="0.1"), *typed)).arguments == ["--lr", "0.1", "extra"]
    assert recipe_of(with_line(task(lr="0.3"), *typed)).arguments == ["--lr", "0.3", "extra"]


@pytest.mark.parametrize(
    ("entry", "argv", "expected"),
    [
        ("train.py --lr 0.1 'a b'", "--lr 0.1 'a b'", "train.py --lr 0.1 'a b'"),
        ("train.py --lr 0.1", "--lr 0.2 'a b'", "train.py --lr 0.2 'a b'"),
        ("-m pkg.train --lr 0.1", "--lr 0.2", "-m pkg.train --lr 0.2"),
        ("-m torch.distributed.run --nproc-per-node=2 train.py --lr 0.1", "--lr 0.1", None),
        ("-m torch.distributed.run --nproc-per-node=2 train.py --lr 0.1", "--lr 0.2", None),
        ("train.py", "it's", None),
    ],
)
def test_arguments_of_the_entry_point(entry: str, argv: str, expected: str | None) -> None:
    """Those of a program behind a launcher cannot be distinguished from the launcher's own: edits are reported."""
    recipe = recipe_of(task(entry, argv=argv))
    assert (recipe.entry_point, recipe.arguments) == (expected or entry, [])
    assert bool([note for note in recipe.notes if "Args/argv" in note]) == (expected is None and argv != "--lr 0.1")


def test_a_job_of_a_hydra_sweep() -> None:
    found = task("train.py", "Hydra", **{"optimizer.lr": "0.2", "~gone": "", "_allow_omegaconf_edit_": "False"})
    found["hyperparams"]["Args"] = {"config_name": {"value": "config"}, "multirun": {"value": "False"}}
    recipe = recipe_of(found)
    assert recipe.arguments == ["--config-name=config", "optimizer.lr=0.2", "~gone"]


def test_a_task_that_clearml_itself_has_made() -> None:
    found = task(lr="0.1", name="", fast="True", slow="False")
    for name in ("fast", "slow"):
        found["hyperparams"]["Args"][name]["type"] = "bool"
    recipe = recipe_of(found)
    assert recipe.arguments == ["--lr=0.1", "--fast"]
    assert any("written from the section Args" in note for note in recipe.notes)


def test_secrets_are_named_and_left_out() -> None:
    recipe = recipe_of(with_line(task(lr="0.1", api_key=MASK), ["lr", "--lr", "0.1"], ["api_key", "--api-key", MASK]))
    assert recipe.arguments == ["--lr", "0.1"]
    assert recipe.notes[0] == "api_key: a secret that the Task does not hold; add it to the command line"


def test_an_mlflow_project() -> None:
    recipe = recipe_of(task("-m autoinstrument.project_backend main", alpha="0.3", data="a b"))
    assert recipe.entry_point == "-m mlflow run ."
    assert recipe.arguments == ["-e", "main", "--env-manager", "local", "-P", "alpha=0.3", "-P", "data=a b"]


def test_packages_and_version_of_python() -> None:
    """An agent replaces them by all that it has installed, and keeps those that were asked for."""
    found = task()
    found["script"] |= {
        "requirements": {"pip": "a==1\nb==2\n", "org_pip": "# Python 3.11.7\n\na==1\n"},
        "binary": "python3.9",
    }
    recipe = recipe_of(found)
    assert (recipe.requirements, recipe.python) == ("# Python 3.11.7\n\na==1\n", "3.11.7")
    found["script"]["requirements"] = {"pip": ["a==1", "b"]}
    recipe = recipe_of(found)
    assert (recipe.requirements, recipe.python) == ("a==1\nb", "3.9")


def test_variables(tmp_path: Path) -> None:
    """Settings that travel, and variables that the Task shows; a store that is not here is left out."""
    found = task("train.py", "Environment", OMP_NUM_THREADS="2", **{"not a name": "x"}, WANDB_API_KEY=MASK)
    text = f"MLFLOW_TRACKING_URI=sqlite:///{tmp_path}/none.db\nMLFLOW_EXPERIMENT_NAME=digits\nPATH=/elsewhere\n"
    found["configuration"] = {"autoinstrument": {"value": text}}
    recipe = recipe_of(found)
    assert recipe.variables == {
        "OMP_NUM_THREADS": "2", "MLFLOW_EXPERIMENT_NAME": "digits", "AUTOINSTRUMENT_ENABLED": "1",
    }  # fmt: skip
    assert any(note.startswith("the MLflow store sqlite:///") for note in recipe.notes)
    assert recipe_of(task()).variables == {}


def test_unused_parts_are_reported() -> None:
    found = task("train.py", "Hydra", _allow_omegaconf_edit_="True") | {"container": {"image": "python:3.11"}}
    notes = recipe_of(found).notes
    assert any("Hydra/_allow_omegaconf_edit_ is on" in note for note in notes)
    assert any("container python:3.11" in note for note in notes)
    assert any("names no packages" in note for note in notes)


@pytest.mark.parametrize("script", [None, {}, {"entry_point": " "}])
def test_a_task_without_code(script: Any) -> None:
    with pytest.raises(ValueError, match="names no program"):
        recipe_of({"id": "x", "script": script})


def test_a_file_with_blanks_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "my train.py").touch()
    assert program_words("my train.py", tmp_path) == ["my train.py"]
    assert program_words("'my train.py' --lr 1", tmp_path) == ["my train.py", "--lr", "1"]
    assert program_words("it's", tmp_path) == ["it's"]
