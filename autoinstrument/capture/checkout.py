"""The working copy that holds the training code: its commit, its remote, and its changes.

As Git describes it, or, where Git does not answer, as the repository's own files do (`capture.git_files`).
"""

from __future__ import annotations

import math
import os
import shlex
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from autoinstrument.capture import git_files
from autoinstrument.capture.git import TOTAL_S, GitError, ask, ask_all, git
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.scrubber import without_credentials

# a/ and b/ whatever the user's configuration says: --default-prefix came with Git 2.41.
_DIFF = [
    "diff", "--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/", "--unified=3",
    "--no-indent-heuristic", "--submodule=diff", "--ignore-submodules=untracked",
]  # fmt: skip
_OTHER_OWNER = ("dubious ownership", "unsafe repository")
"""Git's messages about a repository that another user owns (since 2.36, and before)."""
_IN_GIT_DIR = "must be run in a work tree"
"""Git's message inside a bare repository, or inside `.git`: there is no working copy."""


class Checkout(NamedTuple):
    """A working copy, by its root folder."""

    root: Path
    """Symbolic links resolved."""
    remote: str
    """Address to clone from, credentials stripped, "" for none."""
    branch: str
    """The branch's name at the remote, or here if it follows none, "" on a detached HEAD."""
    commit: str
    """Full hash of HEAD, "" before the first commit."""
    refusal: str = ""
    """Why Git does not answer, "" if it does. Then the other fields come from the repository's files."""
    remedy: str = ""
    """What a person can do about it, "" if it only takes time."""
    until: float = math.inf
    """Deadline of all commands, in seconds of the monotonic clock."""
    remote_name: str = ""
    """What the remote is called here, "" if it is not known."""

    @classmethod
    def of(cls, folder: Path) -> Checkout | None:
        """Return the working copy that holds the folder, None if there is none."""
        try:
            return cls._asked(folder)
        except GitError as error:
            return cls.read(folder, str(error))

    @classmethod
    def read(cls, folder: Path, refusal: str = "") -> Checkout | None:
        """Return the working copy as the repository's files describe it, None if there is none.

        Args:
            folder: a folder inside it.
            refusal: Git's error, "" while Git has not answered.
        """
        found = git_files.read(folder) if _IN_GIT_DIR not in refusal else None
        if found is None:
            return None
        remedy = ""
        if not refusal:
            refusal = "Git has not answered yet"
        elif not shutil.which("git"):
            refusal, remedy = "there is no git program", "install Git"
        elif any(words in refusal for words in _OTHER_OWNER):
            refusal = f"Git refuses {found.root}, which belongs to another user"
            remedy = f"`git config --global --add safe.directory {shlex.quote(str(found.root))}` allows it"
        else:
            refusal = found.problem or refusal
            remedy = f"`git -C {shlex.quote(str(found.root))} status` says more"
        remote = without_credentials(found.remote)
        return cls(found.root, remote, found.branch, found.commit, refusal, remedy)

    @classmethod
    def _asked(cls, folder: Path) -> Checkout:
        """Return the working copy that holds the folder, as Git describes it.

        Raises:
            GitError: Git does not answer.
        """
        until = time.monotonic() + TOTAL_S
        top = git(folder, "rev-parse", "--show-toplevel", until=until)
        root = Path(os.path.realpath(os.fsdecode(top).rstrip("\n")))
        commit, here, upstream, remotes, followed = ask_all(
            root,
            ("rev-parse", "--verify", "--quiet", "HEAD"),
            ("symbolic-ref", "--quiet", "--short", "HEAD"),
            ("rev-parse", "--abbrev-ref", "--symbolic-full-name", "@{upstream}"),
            ("remote",),
            ("config", "--get-regexp", r"^branch\..*\.remote$"),
            until=until,  # at the same time: each takes seconds if the file system is slow
        )
        name = dict(line.rpartition(" ")[::2] for line in followed.split("\n")).get(f"branch.{here}.remote", "")
        names = remotes.split("\n")
        if name not in names:
            name = "origin" if "origin" in names else names[0]
        # As `git fetch` would use it, after url.*.insteadOf; this command does not use the network.
        remote = without_credentials(ask(root, "ls-remote", "--get-url", name, until=until)) if name else ""
        branch = upstream.removeprefix(f"{name}/") if upstream.startswith(f"{name}/") else here
        return cls(root, remote, branch, commit, until=until, remote_name=name)

    @property
    def lacks(self) -> str:
        """What is missing and why, for a person; "" if Git has answered everything."""
        if not self.refusal or (self.commit and not self.remote):
            return ""  # without a remote, the changes are of no use
        what = "the uncommitted changes" if self.commit else "repository, branch and commit"
        if not self.remedy:
            return f"{what} are not here yet: {self.refusal}"
        return f"{what} are not kept: {self.refusal}; {self.remedy}"

    def inside(self, path: Path) -> str:
        """Return the path relative to the root with forward slashes, "." for the root, "" where it lies outside."""
        try:
            return Path(os.path.realpath(path)).relative_to(self.root).as_posix()
        except ValueError:
            return ""

    def tracks(self, inside: str) -> bool:
        """Return True if the file is in the index."""
        return bool(self._ask("ls-files", "--", f":(literal){inside}"))

    def untracked(self, pattern: str) -> list[str]:
        """Return the files that match, are neither in the index nor ignored, relative to the root."""
        listed = self._git("ls-files", "--others", "--exclude-standard", "-z", "--", pattern)
        return [os.fsdecode(name) for name in listed.split(b"\0") if name]

    def published(self) -> str:
        """Return the newest commit of HEAD's history that the remote has, as far as is known here; "" for none.

        The upstream branch decides, or any branch of the remote if there is no such branch.
        """
        if found := self._ask("merge-base", "HEAD", "@{upstream}"):
            return found
        remotes = f"--remotes={self.remote_name}" if self.remote_name else "--remotes"
        own = self._ask("rev-list", "--topo-order", "--boundary", "HEAD", "--not", remotes).split()
        if not own:
            return self.commit
        known = next((commit[1:] for commit in own if commit.startswith("-")), "")
        # `mlflow run` (2.16 to 3.17) fetches a commit by itself, which is on no branch of the remote here then.
        return known or self._ask("merge-base", "HEAD", "FETCH_HEAD")

    def is_published(self) -> bool:
        """Return True if a remote's branch has HEAD, as far as is known here; also if Git does not answer.

        A shallow clone came from the remote, and need not know the branch: MLflow fetches a commit so, and CI systems.
        """
        found = self._ask("for-each-ref", "--count=1", "--format=%(refname)", "--contains=HEAD", "refs/remotes")
        return bool(found or self.refusal) or self._ask("rev-parse", "--is-shallow-repository") == "true"

    def diff(self, since: str = "HEAD", without: Iterable[str] = ()) -> bytes:
        """Return the changes of the working copy since the commit, as `git apply` takes them.

        Args:
            since: a commit.
            without: paths whose changes are left out, as Git's pathspecs that begin with ":(exclude".

        Raises:
            GitError: see `git`.
        """
        return self._git(*_DIFF, since, "--", ":/", *without)

    def addition(self, inside: str) -> bytes:
        """Return the patch that adds the file as it is now; Git need not know the file."""
        return self._git(*_DIFF, "--no-index", "--", os.devnull, inside, codes=(0, 1))

    def _git(self, *arguments: str, codes: Iterable[int] = (0,)) -> bytes:
        return git(self.root, *arguments, codes=codes, until=self.until)

    def _ask(self, *arguments: str) -> str:
        return ask(self.root, *arguments, until=self.until)
