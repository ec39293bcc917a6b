"""One text of a working copy's changes: those that `git apply` can take, and a note of the others."""

from __future__ import annotations

import subprocess
from pathlib import Path

from autoinstrument.capture.patch import LIMIT_BYTES, instead, new_file, patch, sentence, too_large

ONE = b"diff --git a/one.py b/one.py\n--- a/one.py\n+++ b/one.py\n@@ -1 +1 @@\n-a\n+b\n"
BINARY = b"diff --git a/x.bin b/x.bin\nBinary files a/x.bin and b/x.bin differ\n"
LATIN = b"diff --git a/l.txt b/l.txt\n--- a/l.txt\n+++ b/l.txt\n@@ -1 +1 @@\n-\xe4\n+\xf6\n"
TOUCHED = b"diff --git a/t.py b/t.py\n"
LFS = b"""diff --git a/d.csv b/d.csv
index 5e31f9d..80acc79 100644
--- a/d.csv
+++ b/d.csv
@@ -1,3 +1,3 @@
 version https://git-lfs.github.com/spec/v1
-oid sha256:59b271ae1bbcb1d31d41929817f4b16fb439eb4f31520b5ad1d5ce98920a7138
-size 3
+oid sha256:094d9e96f1ebaefaac21e3a263726c7abe648456d0650f9d34a1f6b2ee39a623
+size 5
"""
NEW_LFS = b"""diff --git a/n.csv b/n.csv
new file mode 100644
--- /dev/null
+++ b/n.csv
@@ -0,0 +1,3 @@
+version https://git-lfs.github.com/spec/v1
+oid sha256:094d9e96f1ebaefaac21e3a263726c7abe648456d0650f9d34a1f6b2ee39a623
+size 5
"""
GONE_LFS = b"""diff --git a/g.csv b/g.csv
deleted file mode 100644
--- a/g.csv
+++ /dev/null
@@ -1,3 +0,0 @@
-version https://git-lfs.github.com/spec/v1
-oid sha256:094d9e96f1ebaefaac21e3a263726c7abe648456d0650f9d34a1f6b2ee39a623
-size 5
"""
SUBMODULE = b"Submodule lib 1..2:\n"


def test_nothing_changed() -> None:
    assert patch(b"") == patch(TOUCHED) == patch(TOUCHED, BINARY) == ""


def test_changes_that_a_text_cannot_hold_are_named_after_the_others() -> None:
    text = patch(BINARY + ONE, LATIN, TOUCHED, SUBMODULE)
    assert text.startswith(ONE.decode())
    notes = text.removeprefix(ONE.decode()).splitlines()
    assert notes == [
        "# Submodule lib 1..2:",
        "# not included, binary or not UTF-8: a/x.bin b/x.bin",
        "# not included, binary or not UTF-8: a/l.txt b/l.txt",
    ]


def test_content_in_git_lfs_is_named() -> None:
    """The patch has the content's hash, which Git would look up at the remote: it fails, and nothing is applied."""
    text = patch(LFS, ONE, NEW_LFS, GONE_LFS)
    assert text == (ONE + GONE_LFS).decode() + (
        "# not included, its content is in Git LFS: a/d.csv b/d.csv\n"
        "# not included, its content is in Git LFS: a/n.csv b/n.csv\n"
    )


def test_a_new_file_is_what_git_applies(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for name, text in (("a.py", "one\ntwo\n"), ("with space.py", "no newline at the end"), ("sub/b.py", "x\n")):
        subprocess.run(["git", "apply"], input=new_file(name, text), cwd=tmp_path, check=True)
        assert (tmp_path / name).read_text() == text


def test_code_that_could_not_be_kept_fails_with_the_reason() -> None:
    text = instead("The file is gone.\nIt was here.")
    assert text.startswith("# The file is gone.\n# It was here.\n")
    assert text.splitlines()[-1] == "raise SystemExit('The file is gone.')"


def test_the_limit_is_in_bytes() -> None:
    assert not too_large("x" * LIMIT_BYTES)
    assert too_large("ü" * (LIMIT_BYTES // 2 + 1))


def test_a_sentence() -> None:
    assert sentence("git took more than 20 s") == "Git took more than 20 s."
