"""Code, packages and container of a Task, as they are compared."""

from __future__ import annotations

from typing import Any

import pytest

from autoinstrument.clone_run.task_content import (
    code_fields,
    container_fields,
    is_patch,
    package_versions,
    requirements_of,
)


@pytest.mark.parametrize(
    ("diff", "expected"),
    [
        ("diff --git a/x b/x\n", True),
        ("\nDiff --git a/x b/x\n", True),
        ("Submodule lib c0..c1:\ndiff --git a/lib/x b/lib/x\n", True),
        ("Submodule lib c0..c1:\n", False),
        ("import diff\n", False),
        ("", False),
    ],
)
def test_texts_that_an_agent_applies(diff: str, expected: bool) -> None:
    assert is_patch(diff) == expected


def test_code() -> None:
    script = {
        "repository": "https://h/x.git",
        "version_num": "c0",
        "branch": "",
        "diff": "diff --git\n",
        "binary": None,
    }
    assert code_fields({"script": script}) == {
        "repository": "https://h/x.git", "commit": "c0", "uncommitted changes": "diff --git\n",
    }  # fmt: skip
    assert code_fields({"script": {"diff": "print()"}}) == {"source": "print()"}
    assert code_fields({}) == {}
    settings = {"autoinstrument": {"value": "AUTOINSTRUMENT_TAGS=a\nSTART_FOLDER = runs \n"}}
    assert code_fields({"configuration": settings}) == {"start folder": "runs"}


def test_packages() -> None:
    text = """# Python 3.11.7
a == 1.0
B[x]>=2  # why
own @ git+https://h/x.git@c0#subdirectory=lib
bare
other==1 ; python_version < "4"
-r more.txt
--extra-index-url https://h/simple
"""
    assert package_versions({"script": {"requirements": {"pip": text}}}) == {
        "a": "1.0", "B[x]": ">=2", "own": "git+https://h/x.git@c0#subdirectory=lib", "bare": "any",
        "other": '1 ; python_version < "4"', "-r more.txt": "given", "--extra-index-url https://h/simple": "given",
    }  # fmt: skip


@pytest.mark.parametrize("requirements", [None, {}, {"pip": None}, {"pip": []}])
def test_no_packages(requirements: Any) -> None:
    assert requirements_of({"script": {"requirements": requirements}}) == ""


def test_requested_packages_are_compared_and_not_installed_ones() -> None:
    held = {"pip": "a==1\nb==2\n", "org_pip": "a==1\n"}
    assert package_versions({"script": {"requirements": held}}) == {"a": "1"}


def test_container() -> None:
    assert container_fields({"container": {"image": "python:3.11", "arguments": "", "setup_shell_script": None}}) == {
        "image": "python:3.11"
    }
    assert container_fields({"container": None}) == {}
