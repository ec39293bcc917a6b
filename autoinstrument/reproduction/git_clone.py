"""Clone a repository at a commit, as the person who asks for it: with that person's credentials and Git's own settings.

The address and the commit may come from a Task, which is data of a server: neither can be an option of Git, and Git
refuses addresses that name a program.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

_SAFE = ["-c", "protocol.ext.allow=never"]


class CloneError(Exception):
    """Git failed; the text is for a person."""


def clone(repository: str, folder: Path, *, commit: str = "", branch: str = "") -> str:
    """Clone a repository with its submodules into a folder, on a detached HEAD.

    Args:
        repository: its address, or a folder.
        folder: where the working copy is put; it must not exist, or be empty.
        commit: the commit, or a tag, that is checked out; "" for the newest one of the branch.
        branch: name of a branch, or of a tag; "" for the default one of the repository.

    Returns:
        The full hash of the commit.

    Raises:
        CloneError: there is no such repository, branch or commit, or Git is not installed.
    """
    if Path(repository).is_dir():  # a relative path is relative to the working directory
        repository = str(Path(repository).absolute())
    git(folder.parent, *_SAFE, "clone", "--quiet", "--no-checkout", "--", repository, str(folder))
    wanted = commit or branch
    found = _commit(folder, wanted) if wanted else _commit(folder, "HEAD")
    if not found and commit:
        try:  # it may not belong to a branch (any more)
            git(folder, *_SAFE, "fetch", "--quiet", "--", "origin", commit)
            found = _commit(folder, "FETCH_HEAD")
        except CloneError:
            raise CloneError(
                f"{repository} has no commit {commit}: push it, or name a repository that has it"
            ) from None
    if not found:
        raise CloneError(f"{repository} has no {f'branch {branch}' if branch else 'commit yet'}")
    git(folder, *_SAFE, "checkout", "--quiet", "--detach", found)
    if (folder / ".gitmodules").exists():
        git(folder, *_SAFE, "submodule", "--quiet", "update", "--init", "--recursive")
    return found


def git(folder: Path, *arguments: str, text: str | None = None) -> str:
    """Return what `git ARGUMENTS` prints in the folder; it may ask for credentials on the terminal.

    Args:
        folder: where Git is run.
        *arguments: options and command.
        text: standard input, None for that of this process.

    Raises:
        CloneError: it failed; the error's text is Git's.
    """
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            input=None if text is None else text.encode("utf-8", "surrogateescape"),
            capture_output=True,
            check=False,
        )
    except OSError as error:
        raise CloneError(f"Git cannot be run: {error}") from error
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise CloneError("; ".join(lines[-3:]) or f"git ended with {done.returncode}")
    return done.stdout.decode("utf-8", "replace").strip()


def _commit(folder: Path, name: str) -> str:
    """Return the hash of a commit by its own name, or by that of a branch or tag of the remote; "" for none."""
    for each in (f"refs/remotes/origin/{name}", f"refs/tags/{name}", name):
        try:
            return git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{each}^{{commit}}")
        except CloneError:
            continue
    return ""
