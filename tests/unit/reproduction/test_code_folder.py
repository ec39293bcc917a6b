"""The code of a captured program, made again; Git is the real one, and the remote is on disk."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoinstrument.capture.queued_process import queued_process
from autoinstrument.capture.script_section import script_of
from autoinstrument.mirror.kinds.environment import arguments
from autoinstrument.mirror.mapping.hyperparameters import sections
from autoinstrument.records import ProcessStarted
from autoinstrument.reproduction.code_folder import CodeError, make_code, start_folder_in_code, working_folder
from autoinstrument.reproduction.git_clone import CloneError, clone
from autoinstrument.reproduction.recipe import Recipe, program_words, recipe_of
from tests.unit.repositories import Repository
from tests.unit.repositories import git_settings as git_settings
from tests.unit.repositories import process as process
from tests.unit.repositories import repository as repository

Captured = Callable[..., Recipe]


@pytest.fixture
def captured(process: ProcessStarted) -> Captured:
    """Return the recipe of a program as the agent captures it."""

    def capture(main: Path, cwd: Path, **fields: Any) -> Recipe:
        fields = {"main_kind": "script", "main_path": str(main), "cwd": str(cwd), **fields}
        described = process._replace(**fields)
        items = sections(arguments(described.arguments, {}))
        return recipe_of({"script": script_of(described)._asdict(), "hyperparams": items})

    return capture


def executed(recipe: Recipe, folder: Path) -> str:
    make_code(recipe, folder)
    place = working_folder(recipe, folder)
    search = ":".join(str(place / entry) for entry in recipe.search)
    done = subprocess.run(
        [sys.executable, "-B", *program_words(recipe.entry_point, place), *recipe.arguments],
        cwd=place, env={"PYTHONPATH": search}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_changes_and_new_files(repository: Repository, captured: Captured, tmp_path: Path) -> None:
    repository.write("train.py", "import fresh\nprint('two', fresh.NAME)\n")
    repository.write("fresh.py", "NAME = 'new'\n")
    recipe = captured(
        repository.root / "train.py", repository.root, modules=["fresh"], sys_path=[str(repository.root)]
    )  # fmt: skip
    assert executed(recipe, tmp_path / "code") == "two new\n"


def test_a_module_of_a_src_folder(repository: Repository, captured: Captured, tmp_path: Path) -> None:
    recipe = captured(
        repository.root / "src/pkg/train.py", repository.root, main_kind="module", main_module="pkg.train"
    )  # fmt: skip
    assert executed(recipe, tmp_path / "code") == "module\n"


@pytest.mark.parametrize(
    ("folder", "expected"), [(".", "."), ("src/pkg", "src/pkg"), ("ignored", None), ("..", None), ("link", None)]
)
def test_where_a_module_starts(
    repository: Repository, captured: Captured, tmp_path: Path, folder: str, expected: str | None
) -> None:
    """In the folder that the Task names, if its code has such a folder; a note says if it has none."""
    (repository.root / "link").symlink_to("/")
    repository.commit()
    repository.push()
    recipe = captured(
        repository.root / "src/pkg/train.py", repository.root, main_kind="module", main_module="pkg.train"
    )._replace(start_folder=folder)  # fmt: skip
    notes = make_code(recipe, tmp_path / "code")
    assert start_folder_in_code(recipe, tmp_path / "code") == (tmp_path / "code" / expected if expected else None)
    text = f"START_FOLDER={folder} of the Task is no folder of its code: the program starts in src"
    assert notes == ([] if expected else [text])
    assert start_folder_in_code(recipe._replace(repository=""), tmp_path / "code") is None


def test_a_notebook_beside_a_repository(repository: Repository, captured: Captured, tmp_path: Path) -> None:
    notebook = repository.root / "explore.ipynb"
    recipe = captured(notebook, repository.root, main_kind="notebook", source="# %%\nimport train\n%time print(2)\n")
    assert executed(recipe, tmp_path / "code") == "one\n2\n"


@pytest.mark.parametrize("given", [[], [("argv", "a 'b c'", "")]])
def test_files_that_no_repository_holds(captured: Captured, tmp_path: Path, given: list[Any]) -> None:
    """They are files again, in the folders that they had, and not the script that holds them for an agent."""
    place = tmp_path / "loose"
    (place / "lib").mkdir(parents=True)
    (place / "my train.py").write_text("import sys, helper\nprint(helper.NAME, *sys.argv[1:])\n")
    (place / "lib/helper.py").write_text("NAME = '''quoted'''\n")
    recipe = captured(
        place / "my train.py", place, files={"helper": str(place / "lib/helper.py")}, arguments=given,
        sys_path=[str(place), str(place / "lib")],
    )  # fmt: skip
    assert executed(recipe, tmp_path / "code") == ("quoted a b c\n" if given else "quoted\n")
    assert sorted(file.name for file in (tmp_path / "code").rglob("*.py")) == ["helper.py", "my train.py"]


def test_a_module_that_no_repository_holds(captured: Captured, tmp_path: Path) -> None:
    place = tmp_path / "loose"
    (place / "pkg").mkdir(parents=True)
    for name, text in {
        "__init__": "",
        "train": "from pkg.other import NAME\nprint(NAME)\n",
        "other": "NAME = 3\n",
    }.items():
        (place / f"pkg/{name}.py").write_text(text)
    recipe = captured(
        place / "pkg/train.py", place, main_kind="module", main_module="pkg.train", sys_path=[str(place)],
        files={"pkg": str(place / "pkg/__init__.py"), "pkg.other": str(place / "pkg/other.py")},
    )  # fmt: skip
    assert recipe.entry_point == "-m pkg.train"
    assert executed(recipe, tmp_path / "code") == "3\n"


def test_an_mlflow_project_that_no_repository_holds(captured: Captured, tmp_path: Path) -> None:
    """MLflow runs it: the program of its Task needs an agent."""
    (tmp_path / "MLproject").write_text("name: x\n")
    process = queued_process(
        "module", module="autoinstrument.project_backend", folder=tmp_path, line="main", sys_path=[], python="3.11.7"
    )
    script = script_of(process, folder=tmp_path)._asdict()
    recipe = recipe_of({"script": script, "hyperparams": sections(arguments([("alpha", "0.3", "float")], {}))})
    assert program_words(recipe.entry_point, tmp_path) == ["-m", "mlflow", "run", "."]
    assert recipe.arguments == ["-e", "main", "--env-manager", "local", "-P", "alpha=0.3"]
    make_code(recipe, tmp_path / "code")
    assert (tmp_path / "code/MLproject").read_text() == "name: x\n"


def test_changes_that_could_not_be_kept_are_reported(
    repository: Repository, captured: Captured, tmp_path: Path
) -> None:
    """As an agent, it runs the commit then."""
    repository.write("train.py", f"print('{'x' * 600_000}')\n")
    recipe = captured(repository.root / "train.py", repository.root)
    (note,) = make_code(recipe, tmp_path / "code")
    assert note.startswith("The uncommitted changes are 600 kB")
    assert (tmp_path / "code/train.py").read_text() == "print('one')\n"


def test_a_commit_that_was_never_pushed(repository: Repository, captured: Captured, tmp_path: Path) -> None:
    """It is taken from a repository that has it, if one is named."""
    repository.write("train.py", "print('local')\n")
    commit = repository.commit()
    recipe = captured(repository.root / "train.py", repository.root)
    with pytest.raises(CodeError, match=rf"has no commit {commit}: push it, or name a repository that has it"):
        make_code(recipe, tmp_path / "code")
    make_code(recipe, tmp_path / "other", str(repository.root))
    assert (tmp_path / "other/train.py").read_text() == "print('local')\n"


def test_changes_that_do_not_fit(repository: Repository, captured: Captured, tmp_path: Path) -> None:
    repository.write("train.py", "print('two')\n")
    recipe = captured(repository.root / "train.py", repository.root)
    with pytest.raises(CodeError, match=r"the uncommitted changes do not fit the commit: .*train\.py"):
        make_code(recipe._replace(patch=recipe.patch.replace("one", "eleven")), tmp_path / "code")


@pytest.mark.parametrize(
    "changed",
    [
        {"working_dir": "../.."},
        {"working_dir": "/"},
        {"text": "print()\n", "patch": "", "entry_point": "../outside"},
        {"text": "print()\n", "patch": "", "entry_point": "link/outside.txt"},
        {"repository": "", "files": {"../outside.py": ""}},
    ],
    ids=str,
)
def test_a_task_names_no_place_outside(
    repository: Repository, captured: Captured, tmp_path: Path, changed: dict[str, Any]
) -> None:
    (repository.root / "link").symlink_to(tmp_path)
    repository.commit()
    repository.push()
    recipe = captured(repository.root / "train.py", repository.root)._replace(**changed)
    with pytest.raises(CodeError, match="outside of its code"):
        make_code(recipe, tmp_path / "code")
    assert not list(tmp_path.glob("outside*"))


class TestClone:
    def test_branch_tag_and_commit(self, repository: Repository, tmp_path: Path) -> None:
        first = repository.head
        repository.git("tag", "v1")
        repository.git("push", "-q", "origin", "v1")
        repository.git("checkout", "-q", "-b", "other")
        repository.write("train.py", "print('other')\n")
        second = repository.commit()
        repository.push()
        for number, (wanted, commit) in enumerate(
            [({}, first), ({"branch": "other"}, second), ({"branch": "v1"}, first), ({"commit": second[:10]}, second)]
        ):
            assert clone(str(repository.remote), tmp_path / str(number), **wanted) == commit
        with pytest.raises(CloneError, match="has no branch nowhere"):
            clone(str(repository.remote), tmp_path / "x", branch="nowhere")

    @pytest.mark.parametrize("address", ["--upload-pack=touch outside", "ext::touch outside", "/nowhere"])
    def test_an_address_is_not_a_command(self, tmp_path: Path, address: str) -> None:
        with pytest.raises(CloneError):
            clone(address, tmp_path / "code")
        assert not (tmp_path / "outside").exists()

    def test_a_relative_path(self, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "elsewhere").mkdir()
        assert clone("remote.git", tmp_path / "elsewhere/code") == repository.head

    def test_a_commit_is_not_an_option(self, repository: Repository, tmp_path: Path) -> None:
        with pytest.raises(CloneError, match="has no commit --upload-pack"):
            clone(str(repository.remote), tmp_path / "code", commit="--upload-pack=touch outside")

    def test_submodules(self, repository: Repository, tmp_path: Path) -> None:
        library = Repository(tmp_path / "library", None)
        library.write("lib.py", "NAME = 1\n")
        library.commit()
        repository.git("submodule", "--quiet", "add", str(library.root), "library")
        repository.commit()
        repository.push()
        clone(str(repository.remote), tmp_path / "code")
        assert (tmp_path / "code/library/lib.py").exists()
