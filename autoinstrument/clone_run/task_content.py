"""The code, packages and container of a Task, as a person compares them.

An agent replaces the packages of its Task by all that it has installed, and keeps those that were asked for beside them
(`org_pip`, clearml-agent 1.5 to 3.0.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autoinstrument.clone_run.settings import OBJECT, start_folder_line

_CODE = {
    "repository": "repository", "branch": "branch", "version_num": "commit", "working_dir": "working folder",
    "entry_point": "entry point", "binary": "interpreter",
}  # fmt: skip
"""Fields of a Task's script that are compared, and what a person calls them."""
INTERPRETER = _CODE["binary"]
CHANGES, SOURCE = "uncommitted changes", "source"
"""What a person calls a script's field `diff`, with a repository and without one."""
_ASKED = "org_pip"
_NAME = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*(?:\[[^\]]*\])?)\s*(?P<version>.*)")


def is_patch(diff: str) -> bool:
    """Return True for changes that an agent applies; it writes any other text to the file of the entry point."""
    lines = [line.strip().lower() for line in diff.strip().splitlines()[:2]]
    return diff.lstrip().lower().startswith("diff ") or (
        len(lines) == 2 and lines[0].startswith("submodule ") and lines[1].startswith("diff ")
    )


def code_fields(task: Mapping[str, Any]) -> dict[str, str]:
    """Return the code of a Task: its place, and the text of its changes."""
    script = task.get("script") or {}
    code = {shown: str(script[name]) for name, shown in _CODE.items() if script.get(name)}
    settings = ((task.get("configuration") or {}).get(OBJECT) or {}).get("value")
    if folder := start_folder_line(str(settings or "")):
        code["start folder"] = folder
    changes = str(script.get("diff") or "")
    if changes:
        code[CHANGES if code.get("repository") else SOURCE] = changes
    return code


def requirements_of(task: Mapping[str, Any]) -> str:
    """Return the packages that were asked for, as lines of a requirements file."""
    held = _requirements(task)
    return _text(held.get(_ASKED) or held.get("pip"))


def package_versions(task: Mapping[str, Any]) -> dict[str, str]:
    """Return the packages that were asked for by name, with their versions as they are written."""
    return dict(_packages(requirements_of(task).splitlines()))


def comparable_packages(*tasks: Mapping[str, Any]) -> tuple[dict[str, str], ...]:
    """Return the packages of some Tasks: what agents have installed if agents have run all, else what was asked for.

    A clone of a Task that an agent has run asks for what was installed then, and still holds what was asked for before.
    """
    if all(_requirements(task).get(_ASKED) for task in tasks):
        return tuple(dict(_packages(_text(_requirements(task).get("pip")).splitlines())) for task in tasks)
    return tuple(map(package_versions, tasks))


def container_fields(task: Mapping[str, Any]) -> dict[str, str]:
    """Return image, arguments and setup script of a Task's container."""
    return {name: str(value) for name, value in (task.get("container") or {}).items() if value}


def _requirements(task: Mapping[str, Any]) -> Mapping[str, Any]:
    return (task.get("script") or {}).get("requirements") or {}


def _text(given: Any) -> str:
    return "\n".join(map(str, given)) if isinstance(given, list) else str(given or "")


def _packages(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        words = re.split(r"(?:^|\s)#", line)[0].strip()
        if words.startswith("-"):  # an option: a nested file, an index
            yield words, "given"
        elif match := _NAME.match(words):
            version = match["version"].strip().removeprefix("==").removeprefix("@").strip()
            yield match["name"], version or "any"
