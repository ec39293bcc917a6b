"""Changes of a clone's code, packages and container; for arguments see `test_command_line`."""

from __future__ import annotations

from typing import Any

import pytest

from autoinstrument.clone_run.origin import content_changes


def task(pip: str = "a==1\nb==2\n", **more: Any) -> dict[str, Any]:
    script = {
        "repository": "https://h/x.git", "branch": "main", "version_num": "c0", "entry_point": "train.py",
        "binary": "python3.11", "diff": "diff --git\n-a\n+b\n", "requirements": {"pip": pip}, **more.pop("script", {}),
    }  # fmt: skip
    return {"script": script, **more}


@pytest.mark.parametrize(
    ("after", "lines"),
    [
        (task(), []),
        (task(script={"version_num": "c1", "branch": ""}), ["branch: main -> (none)", "commit: c0 -> c1"]),
        (task(script={"binary": None}), []),
        (task(script={"binary": "/bin/bash"}), ["interpreter: python3.11 -> /bin/bash"]),
        (task(script={"diff": "diff --git\n-a\n+c\n+d\n"}), ["uncommitted changes: +2 -1 lines"]),
        (task(script={"diff": ""}), ["uncommitted changes: +0 -3 lines"]),
        (task("a==1.5\nc\n"), ["package a: 1 -> 1.5", "package b: 2 -> (none)", "package c: (none) -> any"]),
        (
            task("a==1\nb==2\nc @ git+https://me:sesame@h/c.git@c0\n"),
            ["package c: (none) -> git+https://me:********@h/c.git@c0"],
        ),
        (
            task(container={"image": "python:3.11", "arguments": "-e API_KEY=sesame", "setup_shell_script": ""}),
            ["container image: (none) -> python:3.11", "container arguments: (none) -> -e API_KEY=********"],
        ),
    ],
    ids=lambda value: "; ".join(value) if isinstance(value, list) else "",
)
def test_a_line_for_each_change(after: dict[str, Any], lines: list[str]) -> None:
    assert content_changes(task(), after) == lines


def test_packages_that_an_agent_has_installed_are_not_a_change() -> None:
    """It has replaced the clone's packages by then; those of a clone of a Task that it has run are these."""
    run = task(
        "a==1\nb==2\nmore==3\n", script={"requirements": {"pip": "a==1\nb==2\nmore==3\n", "org_pip": "a==1\nb==2\n"}}
    )
    assert content_changes(task(), run) == []
    again = {"pip": "a==1\nb==5\nmore==3\n", "org_pip": "a==1\nb==2\n"}
    assert content_changes(run, task(script={"requirements": again})) == ["package b: 2 -> 5"]


def test_many_packages_are_counted() -> None:
    found = content_changes(task(""), task("".join(f"p{number}==1\n" for number in range(100))))
    assert (len(found), found[-1]) == (31, "and 70 more packages")
