"""Make the folder with a Task's code: the commit with its uncommitted changes, or the text that the Task holds."""

from __future__ import annotations

import os
from pathlib import Path

from autoinstrument.clone_run.change_folder import inside
from autoinstrument.reproduction.git_clone import CloneError, clone, git
from autoinstrument.reproduction.recipe import Recipe, program_words


class CodeError(Exception):
    """The code cannot be made; the text is for a person."""


def make_code(recipe: Recipe, folder: Path, repository: str = "") -> list[str]:
    """Make the code of a Task in a folder.

    Args:
        recipe: what the Task says.
        folder: it is made; it must not exist.
        repository: address to clone from instead of the Task's, "" for that.

    Returns:
        What a person must know, a line each.

    Raises:
        CodeError: the code cannot be made.
    """
    notes = list[str]()
    if recipe.repository:
        try:
            clone(repository or recipe.repository, folder, commit=recipe.commit, branch=recipe.branch)
        except CloneError as error:
            raise CodeError(f"the repository cannot be cloned: {error}") from error
        if recipe.patch:
            try:
                git(folder, "apply", "--unidiff-zero", "--whitespace=nowarn", text=f"{recipe.patch}\n")
            except CloneError as error:
                raise CodeError(f"the uncommitted changes do not fit the commit: {error}") from error
    else:
        folder.mkdir(parents=True)
        for name, text in recipe.files.items():
            _write(_inside(folder, folder / name), text)
    place = working_folder(recipe, folder)
    if not place.is_dir():
        raise CodeError(f"the repository has no folder {recipe.working_dir}")
    if recipe.text:
        file = _inside(folder, place / _file_name(recipe))
        if file.exists():  # as an agent, which runs the committed file: the text says what is missing
            notes.append(recipe.text.partition("\n")[0].removeprefix("# "))
        else:
            _write(file, recipe.text)
    if recipe.start_folder and start_folder_in_code(recipe, folder) is None:
        notes.append(
            f"START_FOLDER={recipe.start_folder} of the Task is no folder of its code: the program starts in "
            f"{recipe.working_dir}"
        )
    return notes


def working_folder(recipe: Recipe, folder: Path) -> Path:
    """Return the folder in which the entry point is found, given that of the code.

    Raises:
        CodeError: it lies outside.
    """
    return _inside(folder, folder / recipe.working_dir) if recipe.repository else folder


def start_folder_in_code(recipe: Recipe, folder: Path) -> Path | None:
    """Return the start folder that the Task names, given that of the code; None if the code has no such folder."""
    path = inside(str(folder), recipe.start_folder) if recipe.repository and recipe.start_folder else ""
    return Path(path) if path and Path(path).is_dir() else None


def _file_name(recipe: Recipe) -> str:
    """Return the name of the file that an agent writes a Task's text to (clearml-agent 3.0.3, LiteralScriptManager)."""
    entry = recipe.entry_point
    if entry.startswith(("-m ", "-c ")):
        return "untitled.py"
    first = Path((program_words(entry, Path(os.devnull)) or [entry])[0]).name
    return first if first.endswith((".sh", ".bash") if recipe.is_shell else ".py") else entry


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")


def _inside(folder: Path, path: Path) -> Path:
    """Return a path without links; a Task must not name one outside of its folder.

    Raises:
        CodeError: it lies outside.
    """
    found = inside(str(folder), str(path))
    if not found:
        raise CodeError(f"the Task names {path}, which is outside of its code")
    return Path(found)
