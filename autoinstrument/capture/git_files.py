"""Read remote, branch and commit from a repository's own files, if Git does not answer.

Git refuses a repository that belongs to another user (`safe.directory`), because its configuration names programs that
Git would run. This module runs nothing and reads only these files: `.git`, `commondir`, `HEAD`, the branch,
`packed-refs`, and `config` without its includes (gitrepository-layout(5), git-config(1)). `url.*.insteadOf` is not
applied to the address. A reftable, which is binary, is not read: the commit is "" then.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from autoinstrument.named_tuple import NamedTuple

_MOST_BYTES, _MOST_PACKED = 2**18, 2**25
_MOST_LINKS = 5
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_BRANCH = "refs/heads/"
_SECTION = re.compile(r'\[\s*([\w.-]+)(?:\s+"((?:[^"\\]|\\.)*)")?\s*\]\s*(.*)')
_ESCAPE, _PLAIN, _QUOTE = re.compile(r"\\(.)"), r"\1", re.compile(r'(?<!\\)"')
_VARIABLE = re.compile(r"([A-Za-z][\w-]*)\s*(?:=\s*(.*))?$")


class Repository(NamedTuple):
    """The content of the files; a field is "" if they do not hold it."""

    root: Path
    """The folder that holds `.git`, symbolic links resolved."""
    remote: str
    branch: str
    commit: str
    """These three are as in `checkout.Checkout`, but the remote has its credentials."""
    problem: str
    """Why the files could not be read, "" if they could."""


def read(folder: Path) -> Repository | None:
    """Return the repository of the working copy that holds the folder, None if there is none."""
    try:
        here = Path(os.path.realpath(folder))
    except OSError:  # the path is relative, and the working directory is gone
        return None
    for root in _upwards(here):
        try:
            git_dir = _git_dir(root)
            if git_dir is None:
                continue
            common = _common(git_dir)
            config = _config(_text(common / "config"))
            branch, commit = _head(git_dir, common)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            return Repository(root, "", "", "", f"{getattr(error, 'filename', None) or root / '.git'}: {why}")
        return Repository(root, *_remote(config, branch), commit, "")
    return None


def _upwards(folder: Path) -> Iterator[Path]:
    """Yield the folders in which Git looks for `.git`: not above a mount point or GIT_CEILING_DIRECTORIES."""
    ceilings = {os.path.realpath(place) for place in os.environ.get("GIT_CEILING_DIRECTORIES", "").split(os.pathsep)}
    device = None
    for place in (folder, *folder.parents):
        try:
            found = place.stat().st_dev
        except OSError:
            continue
        if (device is not None and found != device) or (place != folder and str(place) in ceilings):
            return
        device = found
        yield place


def _git_dir(root: Path) -> Path | None:
    """Return the folder with HEAD; the `.git` of a worktree or a submodule is a file that names it."""
    path = root / ".git"
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if is_folder:
        os.listdir(path)  # noqa: PTH208  (raises if it cannot be read; Git reports then that there is no repository)
        return path if (path / "HEAD").exists() else None
    named = _text(path).strip()
    if not named.startswith("gitdir:"):
        raise ValueError("is not a file of Git")
    git_dir = root / named.removeprefix("gitdir:").strip()
    if not git_dir.is_dir():
        raise FileNotFoundError(2, "the repository that this working copy belongs to is gone", str(git_dir))
    return git_dir


def _common(git_dir: Path) -> Path:
    """Return the folder that all worktrees of a repository share."""
    try:
        return git_dir / _text(git_dir / "commondir").strip()
    except FileNotFoundError:
        return git_dir


def _head(git_dir: Path, common: Path) -> tuple[str, str]:
    """Return the branch, "" for a detached HEAD, and the commit, "" if there is none yet."""
    name, branch = "HEAD", ""
    for _ in range(_MOST_LINKS):
        value = _ref(name, git_dir, common)
        if not value.startswith("ref:"):
            return branch, value if _COMMIT.fullmatch(value) else ""
        name = value.removeprefix("ref:").strip()
        if not name.startswith("refs/") or ".." in name.split("/"):
            break
        branch = branch or (name.removeprefix(_BRANCH) if name.startswith(_BRANCH) else "")
    return branch, ""


def _ref(name: str, git_dir: Path, common: Path) -> str:
    for folder in (git_dir,) if name == "HEAD" else dict.fromkeys((git_dir, common)):
        try:
            return _text(folder / name).strip()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            continue
    try:
        packed = _text(common / "packed-refs", _MOST_PACKED)
    except FileNotFoundError:
        return ""
    return next((line.partition(" ")[0] for line in packed.splitlines() if line.endswith(f" {name}")), "")


def _remote(config: dict[tuple[str, str], str], branch: str) -> tuple[str, str]:
    """Return the address of the branch's remote, and the branch's name there."""
    remotes = [section.removeprefix("remote.") for section, name in config if name == "url"]
    name = config.get((f"branch.{branch}", "remote"), "")
    if name not in remotes:
        name = "origin" if "origin" in remotes or not remotes else remotes[0]
        return config.get((f"remote.{name}", "url"), ""), branch
    there = config.get((f"branch.{branch}", "merge"), "")
    return config[f"remote.{name}", "url"], there.removeprefix(_BRANCH) if there.startswith(_BRANCH) else branch


def _config(text: str) -> dict[tuple[str, str], str]:
    """Return the variables by section, as in `remote.origin`, and name; the first one of several values."""
    values: dict[tuple[str, str], str] = {}
    section = ""
    for line in text.replace("\\\n", "").splitlines():
        line = line.strip()
        if match := _SECTION.match(line):
            name, below, line = match.groups()
            section = name.lower() if below is None else f"{name.lower()}.{_ESCAPE.sub(_PLAIN, below)}"
        if match := _VARIABLE.match(line):
            values.setdefault((section, match[1].lower()), _value(match[2] or ""))
    return values


def _value(written: str) -> str:
    """Return a value without quotes and without the comment behind it."""
    value = re.match(r'(?:"(?:[^"\\]|\\.)*"|\\.|[^"\\#;])*', written)
    return _ESCAPE.sub(_PLAIN, _QUOTE.sub("", value[0].strip())) if value else ""


def _text(path: Path, most: int = _MOST_BYTES) -> str:
    """Return the text of a regular file; another user may have put a file of another kind there.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a regular file, or it is too large.
    """
    file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        found = os.fstat(file)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(21, "is a folder", str(path))
        if not stat.S_ISREG(found.st_mode) or found.st_size > most:
            raise ValueError(f"{path.name} is not a file of Git")
        return os.read(file, most).decode("utf-8", "surrogateescape")
    finally:
        os.close(file)
