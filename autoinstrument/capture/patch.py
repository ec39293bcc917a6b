"""Make one text of a working copy's changes that a ClearML agent can apply.

clearml-agent 3.0.3 passes the text to `git apply` if it begins with "diff " (or with "Submodule " and then "diff "),
and writes any other text to the entry point's file. `git apply` applies all or nothing: changes that a text cannot hold
(binary files, other encodings, content that only Git LFS has) are left out and named, because they would make the rest
useless.
"""

from __future__ import annotations

import re

LIMIT_BYTES = 500_000
"""Largest diff that ClearML keeps (`ScriptInfo.max_diff_size_bytes` of clearml 1.16 to 2.1.12)."""

_FILE = re.compile(rb"^(?=diff --git |Submodule )", re.M)

_LFS_CONTENT = re.compile(
    rb"^[ +]version https://git-lfs\.github\.com/spec/v1\n(?:-.*\n)*\+oid sha256:[0-9a-f]{64}$", re.M
)
"""New content of a file in Git LFS: Git looks it up at the remote, which does not have it before a push."""


def patch(*diffs: bytes) -> str:
    """Return the diffs as one text, "" if there is no change."""
    kept, left_out = [], []
    submodules = []
    for part in (part for diff in diffs for part in _FILE.split(diff) if part):
        text = _text(part)
        if part.startswith(b"diff ") and part.count(b"\n") == 1:
            continue  # touched, not changed: see diff.autoRefreshIndex in Git's documentation
        if text is None:
            name = part.partition(b"\n")[0].decode("utf-8", "replace").removeprefix("diff --git ")
            left_out.append(f"{_why(part)}: {name}")
        elif part.startswith(b"Submodule "):
            submodules.append(text)  # a heading for people; the changes inside are separate parts
        else:
            kept.append(text if text.endswith("\n") else f"{text}\n")
    if not kept:
        return ""
    notes = [f"# not included, {each}\n" for each in left_out]
    # After the last file, where `git apply` ignores them.
    return "".join(kept + [f"# {line}" for line in submodules] + notes)


def new_file(inside: str, text: str) -> bytes:
    """Return the patch that adds a file of this text at the path, relative to the repository's root."""
    lines = text.split("\n")
    ended = lines[-1] == ""
    if ended:
        lines.pop()
    tab = "\t" if " " in inside else ""  # Git marks the end of a name with spaces so
    head = (
        f"diff --git a/{inside} b/{inside}\nnew file mode 100644\n--- /dev/null\n+++ b/{inside}{tab}\n"
        f"@@ -0,0 +1,{len(lines)} @@\n"
    )
    body = "".join(f"+{line}\n" for line in lines)
    return (head + body + ("" if ended else "\\ No newline at end of file\n")).encode("utf-8", "replace")


def too_large(text: str) -> bool:
    """Return True if the text is larger than ClearML keeps."""
    return len(text.encode("utf-8", "replace")) > LIMIT_BYTES


def instead(reason: str) -> str:
    """Return the text that replaces code that could not be kept: a comment, and a script that fails with the reason.

    An agent runs it only if the repository has no file at the entry point; otherwise it runs the committed code.
    """
    lines = [f"# {line}\n" for line in reason.split("\n")]
    return "".join(lines) + f"raise SystemExit({reason.splitlines()[0]!r})\n"


def sentence(words: str) -> str:
    """Return words as a sentence, with a capital letter and a full stop."""
    return f"{words[0].upper()}{words[1:]}."


def _text(part: bytes) -> str | None:
    if (b"\nBinary files " in part and b"\n@@ " not in part) or _LFS_CONTENT.search(part):
        return None
    try:
        return part.decode()
    except UnicodeDecodeError:
        return None


def _why(part: bytes) -> str:
    return "its content is in Git LFS" if _LFS_CONTENT.search(part) else "binary or not UTF-8"
