"""Ask Git about the working copy that the training code lies in; nothing is fetched, locked or changed there.

Every call has a time limit, never prompts, takes no lock and starts no program that the repository's configuration
names (hooks, fsmonitor, external diff, textconv). Clean filters (Git LFS) run: without them a diff would be wrong.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from autoinstrument.capture import git_files
from autoinstrument.capture.secrets import hide_in_text, without_credentials

_TIME_LIMIT_S = 20.0
_MOST_WORDS, _WORDS_S = 2000, 1.0
"""Bytes of what Git says on stderr, and how long its end is waited for when Git has ended."""
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


def git(folder: Path, *arguments: str, codes: Iterable[int] = (0,)) -> bytes:
    """Return what `git ARGUMENTS` prints in the folder.

    Raises:
        GitError: it could not be run, ended with another code than `codes`, or passed a limit (20 s, 16 MB).
    """
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

    timer = threading.Timer(_TIME_LIMIT_S, stop)
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
        raise GitError(f"git {arguments[0]} took more than {_TIME_LIMIT_S:.0f} s")
    if len(output) > _MOST_BYTES:
        raise GitError(f"git {arguments[0]} gave more than {_MOST_BYTES // 1024**2} MB")
    if process.returncode not in codes:
        raise GitError(f"git {arguments[0]} ended with {process.returncode}{_fatal(bytes(said))}")
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
    """What a person can do about it."""

    @classmethod
    def of(cls, folder: Path) -> Checkout | None:
        """Return the working copy that the folder lies in, None where there is none."""
        try:
            return cls._asked(folder)
        except GitError as error:
            return cls.read(folder, str(error))

    @classmethod
    def read(cls, folder: Path, refusal: str) -> Checkout | None:
        """Return the working copy as its files describe it, None where there is none.

        Args:
            folder: one that lies in it.
            refusal: why Git is not asked, or what it has said.
        """
        found = git_files.read(folder) if _IN_GIT_DIR not in refusal else None
        if found is None:
            return None
        if not shutil.which("git"):
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
        root = Path(os.path.realpath(os.fsdecode(git(folder, "rev-parse", "--show-toplevel")).rstrip("\n")))
        commit = _ask(root, "rev-parse", "--verify", "--quiet", "HEAD")
        here = _ask(root, "symbolic-ref", "--quiet", "--short", "HEAD")
        upstream = _ask(root, "rev-parse", "--abbrev-ref", "--symbolic-full-name", "@{upstream}")
        remotes = _ask(root, "remote").split("\n")
        name = _ask(root, "config", f"branch.{here}.remote") if here else ""
        if name not in remotes:
            name = "origin" if "origin" in remotes else remotes[0]
        # As `git fetch` would take it, after url.*.insteadOf; this does not go to the network.
        remote = without_credentials(_ask(root, "ls-remote", "--get-url", name)) if name else ""
        branch = upstream.removeprefix(f"{name}/") if upstream.startswith(f"{name}/") else here
        return cls(root, remote, branch, commit)

    @property
    def lacks(self) -> str:
        """What is missing and why, for a person; "" where Git has said everything."""
        if not self.refusal or (self.commit and not self.remote):
            return ""  # without a remote, changes are not asked for
        what = "the uncommitted changes" if self.commit else "repository, branch and commit"
        return f"{what} are not kept: {self.refusal}; {self.remedy}"

    def inside(self, path: Path) -> str:
        """Return the path relative to the root with forward slashes, "." for the root, "" where it lies outside."""
        try:
            return Path(os.path.realpath(path)).relative_to(self.root).as_posix()
        except ValueError:
            return ""

    def tracks(self, inside: str) -> bool:
        """Say whether the file is in the index."""
        return bool(_ask(self.root, "ls-files", "--", f":(literal){inside}"))

    def untracked(self, pattern: str) -> list[str]:
        """Return the files that match, are neither in the index nor ignored, relative to the root."""
        try:
            listed = git(self.root, "ls-files", "--others", "--exclude-standard", "-z", "--", pattern)
        except GitError:
            return []
        return [os.fsdecode(name) for name in listed.split(b"\0") if name]

    def published(self) -> str:
        """Return the newest commit of HEAD's history that the upstream branch has, "" where there is none."""
        return _ask(self.root, "merge-base", "HEAD", "@{upstream}")

    def diff(self, since: str = "HEAD", without: Iterable[str] = ()) -> bytes:
        """Return the changes of the working copy since the commit, as `git apply` takes them.

        Args:
            since: a commit.
            without: paths whose changes are left out, as Git's pathspecs that begin with ":(exclude".

        Raises:
            GitError: see `git`.
        """
        return git(self.root, *_DIFF, since, "--", ":/", *without)

    def addition(self, inside: str) -> bytes:
        """Return the patch that adds the file as it is now; to Git it need not be known."""
        return git(self.root, *_DIFF, "--no-index", "--", os.devnull, inside, codes=(0, 1))


def _ask(folder: Path, *arguments: str) -> str:
    """Return one answer; "" is one of them: no upstream, no commit."""
    try:
        return git(folder, *arguments).decode("utf-8", "replace").strip()
    except GitError:
        return ""


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (OSError, AttributeError):  # gone already; no process groups on Windows
        process.kill()
