"""Ask Git about the working copy that the training code lies in; nothing is fetched, locked or changed there.

Every call has a time limit, never prompts, takes no lock and starts no program that the repository's configuration
names (hooks, fsmonitor, external diff, textconv). Clean filters (Git LFS) run: without them a diff would be wrong.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from autoinstrument.capture import git_files
from autoinstrument.scrubber import hide_in_text, without_credentials

_TIME_LIMIT_S, _TOTAL_S = 20.0, 60.0
"""For one command, and for all that is asked of one working copy."""
_MOST_WORDS, _WORDS_S = 2000, 1.0
"""Bytes of what Git says on stderr, and how long its end is waited for when Git has ended."""
_AT_A_TIME = 5
_MOST_BYTES = 16 * 1024 * 1024
# Set inside Git's hooks, they would point every call at another repository (`git rev-parse --local-env-vars`, less
# GIT_CONFIG_COUNT, by which containers say safe.directory).
_FOREIGN = {
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_DIR", "GIT_EXTERNAL_DIFF",
    "GIT_GRAFT_FILE", "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_INTERNAL_SUPER_PREFIX", "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
}  # fmt: skip
_SETTINGS = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",  # a partial clone would fetch what a diff needs; Git knows the variable since 2.44
    "GIT_ASKPASS": "",
    "SSH_ASKPASS": "",
    "LC_ALL": "C",
}
_OPTIONS = ["--no-pager", "-c", "core.fsmonitor=", "-c", "core.hooksPath=/dev/null", "-c", "diff.relative=false"]
# GIT_OPTIONAL_LOCKS does not keep `git diff` (2.39) from writing the index, in passing, to spare itself work next time.
_OPTIONS += ["-c", "diff.autoRefreshIndex=false"]
# a/ and b/ whatever the user's settings are: --default-prefix is not known before Git 2.41.
_DIFF = [
    "diff", "--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/", "--unified=3",
    "--no-indent-heuristic", "--submodule=diff", "--ignore-submodules=untracked",
]  # fmt: skip


_OTHER_OWNER = ("dubious ownership", "unsafe repository")
"""Git's words for a repository that another user owns (since 2.36, and before)."""
_IN_GIT_DIR = "must be run in a work tree"
"""Git's words inside a bare repository, or inside `.git`: there is no working copy."""


class GitError(Exception):
    """Git is not there, refused, took too long, or had more to say than fits."""


class CodeError(GitError):
    """Git ended with a code that says no; to a question, that may be the answer."""


def git(folder: Path, *arguments: str, codes: Iterable[int] = (0,), until: float = math.inf) -> bytes:
    """Return what `git ARGUMENTS` prints in the folder.

    Args:
        folder: where Git is run.
        *arguments: they begin with the command's name.
        codes: those with which it may end.
        until: when all has to be done, in seconds of the monotonic clock.

    Raises:
        CodeError: it ended with another code.
        GitError: it could not be run, or passed a limit (20 s, 16 MB).
    """
    limit_s = min(_TIME_LIMIT_S, until - time.monotonic())
    if limit_s <= 0:
        raise GitError(f"git took more than {_TOTAL_S:.0f} s in all")
    environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN} | _SETTINGS
    words, write_end = os.pipe()
    try:
        process = subprocess.Popen(
            ["git", *_OPTIONS, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=write_end,
            start_new_session=True,  # so that filters it has started end with it
        )
    except (OSError, ValueError) as error:
        os.close(words)
        raise GitError(f"git cannot be run: {error}") from error
    finally:
        os.close(write_end)
    late = threading.Event()

    def stop() -> None:
        late.set()
        _end(process)

    timer = threading.Timer(limit_s, stop)
    timer.daemon = True
    timer.start()
    said = bytearray()
    reader = threading.Thread(target=_read_words, args=(words, said), daemon=True)
    reader.start()
    try:
        with process:
            output = process.stdout.read(_MOST_BYTES + 1) if process.stdout else b""
            if len(output) > _MOST_BYTES:
                _end(process)
    finally:
        timer.cancel()
    reader.join(_WORDS_S)
    if late.is_set():
        raise GitError(f"git {arguments[0]} took more than {limit_s:.0f} s")
    if len(output) > _MOST_BYTES:
        raise GitError(f"git {arguments[0]} gave more than {_MOST_BYTES // 1024**2} MB")
    if process.returncode not in codes:
        raise CodeError(f"git {arguments[0]} ended with {process.returncode}{_fatal(bytes(said))}")
    return output


def _read_words(file: int, said: bytearray) -> None:
    """Keep the beginning of what comes from a pipe, and close it at its end."""
    # A filter may say any amount, and must not wait for a reader; one that leaves a process behind never ends the pipe.
    with contextlib.suppress(OSError):
        while data := os.read(file, 2**16):
            said += data[: _MOST_WORDS - len(said)]
    os.close(file)


def _fatal(said: bytes) -> str:
    """Return what Git gives as its reason, "" for none."""
    lines = hide_in_text(said.decode("utf-8", "replace")).splitlines()
    reasons = [line.partition(": ")[2] for line in lines if line.startswith(("fatal: ", "error: "))]
    return f": {reasons[0][:500]}" if reasons else ""


class Checkout(NamedTuple):
    """A working copy, by its root folder."""

    root: Path
    """Symbolic links resolved."""
    remote: str
    """Address to clone from, credentials stripped, "" where there is none."""
    branch: str
    """The branch's name at the remote, or here where it follows none, "" on a detached HEAD."""
    commit: str
    """Full hash of HEAD, "" before the first commit."""
    refusal: str = ""
    """Why Git does not answer, "" where it does. Then the rest is what its files say, and Git is asked for nothing."""
    remedy: str = ""
    """What a person can do about it, "" where it is to be waited for."""
    until: float = math.inf
    """When Git must have answered everything, in seconds of the monotonic clock."""

    @classmethod
    def of(cls, folder: Path) -> Checkout | None:
        """Return the working copy that the folder lies in, None where there is none."""
        try:
            return cls._asked(folder)
        except GitError as error:
            return cls.read(folder, str(error))

    @classmethod
    def read(cls, folder: Path, refusal: str = "") -> Checkout | None:
        """Return the working copy as its files describe it, None where there is none.

        Args:
            folder: one that lies in it.
            refusal: what Git has said, "" while it has not answered.
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
        """Return the working copy that the folder lies in.

        Raises:
            GitError: Git does not say.
        """
        until = time.monotonic() + _TOTAL_S
        top = git(folder, "rev-parse", "--show-toplevel", until=until)
        root = Path(os.path.realpath(os.fsdecode(top).rstrip("\n")))
        ask = functools.partial(_ask, root, until=until)
        # Side by side: each takes seconds where the file system is slow.
        with ThreadPoolExecutor(_AT_A_TIME) as executor:
            commit, here, upstream, remotes, followed = executor.map(
                lambda question: ask(*question),
                [
                    ("rev-parse", "--verify", "--quiet", "HEAD"),
                    ("symbolic-ref", "--quiet", "--short", "HEAD"),
                    ("rev-parse", "--abbrev-ref", "--symbolic-full-name", "@{upstream}"),
                    ("remote",),
                    ("config", "--get-regexp", r"^branch\..*\.remote$"),
                ],
            )
        name = dict(line.rpartition(" ")[::2] for line in followed.split("\n")).get(f"branch.{here}.remote", "")
        names = remotes.split("\n")
        if name not in names:
            name = "origin" if "origin" in names else names[0]
        # As `git fetch` would take it, after url.*.insteadOf; this does not go to the network.
        remote = without_credentials(ask("ls-remote", "--get-url", name)) if name else ""
        branch = upstream.removeprefix(f"{name}/") if upstream.startswith(f"{name}/") else here
        return cls(root, remote, branch, commit, until=until)

    @property
    def lacks(self) -> str:
        """What is missing and why, for a person; "" where Git has said everything."""
        if not self.refusal or (self.commit and not self.remote):
            return ""  # without a remote, changes are not asked for
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
        """Say whether the file is in the index."""
        return bool(self._ask("ls-files", "--", f":(literal){inside}"))

    def untracked(self, pattern: str) -> list[str]:
        """Return the files that match, are neither in the index nor ignored, relative to the root."""
        listed = self._git("ls-files", "--others", "--exclude-standard", "-z", "--", pattern)
        return [os.fsdecode(name) for name in listed.split(b"\0") if name]

    def published(self) -> str:
        """Return the newest commit of HEAD's history that the upstream branch has, "" where there is none."""
        return self._ask("merge-base", "HEAD", "@{upstream}")

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
        """Return the patch that adds the file as it is now; to Git it need not be known."""
        return self._git(*_DIFF, "--no-index", "--", os.devnull, inside, codes=(0, 1))

    def _git(self, *arguments: str, codes: Iterable[int] = (0,)) -> bytes:
        return git(self.root, *arguments, codes=codes, until=self.until)

    def _ask(self, *arguments: str) -> str:
        return _ask(self.root, *arguments, until=self.until)


def _ask(folder: Path, *arguments: str, until: float) -> str:
    """Return one answer; "" is one of them: no upstream, no commit.

    Raises:
        GitError: there is no answer.
    """
    try:
        return git(folder, *arguments, until=until).decode("utf-8", "replace").strip()
    except CodeError:
        return ""


def _end(process: subprocess.Popen[bytes]) -> None:
    if sys.platform != "win32":  # Windows has no process groups of this kind
        with contextlib.suppress(OSError):  # it is gone already
            os.killpg(process.pid, signal.SIGKILL)
            return
    process.kill()
