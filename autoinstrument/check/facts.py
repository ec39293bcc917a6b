"""Run a command once, and collect facts about it: from outside, from inside (the probe), and from MLflow's store."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from autoinstrument.bootstrap.startup_files import are_installed, python_path
from autoinstrument.check.probe import REPORT, TRACKING_URI
from autoinstrument.mirror import kinds
from autoinstrument.mlflow_store.link_tags import LINK_TAGS
from autoinstrument.mlflow_store.run_reader import open_run
from autoinstrument.mlflow_store.runs import find_runs
from autoinstrument.mlflow_store.store_errors import NoStoreError, problem_of
from autoinstrument.mlflow_store.urls import local_folder
from autoinstrument.records import RunStarted

Facts = dict[str, dict[str, str]]
"""Group → fact → value."""

LINES = ("stdout", "stderr")
"""Groups whose facts are numbered lines, so that an additional line shifts all others."""

GROUPS = ("process", *LINES, "state", "file", "removed file", "MLflow")
"""All groups except those of the single runs, `MLflow run 1` and so on."""

_HOOK = str(Path(__file__).parent / "hook")
_OURS = re.compile(rb"autoinstrument: [^\n]*\n")
"""A line of the agent; it may follow the first half of another line."""
_LONGEST_TEXT = 256 * 1024
_SKIPPED = {".git", "__pycache__"}
_IDS = re.compile(r"m-[0-9a-f]{32}|[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Looked(NamedTuple):
    """The facts about a command that was run.

    Attributes:
        probed: the probe saw the end of a Python process of the command.
        runs: how many MLflow runs it made.
        problem: why MLflow's store could not be read, "" if it was.
    """

    facts: Facts
    probed: bool
    runs: int
    problem: str


def look(command: Sequence[str], environ: Mapping[str, str], *, agent: bool, tracking_uri: str = "") -> Looked:
    """Run a command in the working directory, without input, and return the facts about it.

    Args:
        command: the program and its arguments.
        environ: its environment; the agent's switch is set or removed.
        agent: whether the agent is on.
        tracking_uri: the MLflow store in which the command's runs are looked up if its process does not report one;
            MLflow's own choice if "".
    """
    with tempfile.TemporaryDirectory(prefix="autoinstrument-check-") as folder:
        report = Path(folder) / "report.json"
        before, began_s = _tree(Path.cwd()), time.time()
        done = subprocess.run(
            list(command), env=_environ(environ, report, agent=agent), stdin=subprocess.DEVNULL,
            capture_output=True, check=False,
        )  # fmt: skip
        probe: dict[str, str] = json.loads(report.read_text() or "{}") if report.exists() else {}
    tracking_uri = probe.pop(TRACKING_URI, "") or tracking_uri
    after = _tree(Path.cwd())
    facts: Facts = {
        "process": {"exit": _exit(done.returncode)},
        "stdout": _lines(done.stdout),
        "stderr": _lines(_OURS.sub(b"", done.stderr)),
        "state": probe,
        "file": _contents(
            Path.cwd(), [path for path in after if after[path] != before.get(path) and not _is_link_tag(path)]
        ),
        "removed file": {str(path): "" for path in before if path not in after},
    }
    runs, problem = dict[str, dict[str, str]](), ""
    try:
        for number, run in enumerate(_runs(tracking_uri, began_s), 1):
            runs[f"MLflow run {number}"] = _stored(run)
    except Exception as error:  # MLflow's store raises what its driver raises
        problem = problem_of(error)
    return Looked(facts | runs | {"MLflow": {"runs": str(len(runs))}}, bool(probe), len(runs), problem)


def without_ids(text: str) -> str:
    """Return a text with MLflow's ids, which are new each time, replaced."""
    return _IDS.sub("<id>", text)


def _environ(environ: Mapping[str, str], report: Path, *, agent: bool) -> dict[str, str]:
    path = environ.get("PYTHONPATH", "")
    if not are_installed():
        path = python_path(path)
    chosen = {"PYTHONPATH": os.pathsep.join([_HOOK, path] if path else [_HOOK]), REPORT: str(report)}
    switch = {"AUTOINSTRUMENT_ENABLED": "1"} if agent else {}
    return {name: value for name, value in environ.items() if name != "AUTOINSTRUMENT_ENABLED"} | chosen | switch


def _exit(code: int) -> str:
    if code >= 0:
        return f"code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"signal {-code}"


def _lines(output: bytes) -> dict[str, str]:
    lines = output.decode("utf-8", "surrogateescape").splitlines(keepends=True)
    return {f"line {number}": line for number, line in enumerate(lines, 1)}


# Files


def _tree(folder: Path) -> dict[Path, float]:
    """Return the time of the last change of each file below a folder."""
    found = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED]
        for name in names:
            with contextlib.suppress(OSError):  # it is being removed
                found[Path(place, name).relative_to(folder)] = Path(place, name).stat().st_mtime
    return found


def _is_link_tag(path: Path) -> bool:
    """Return True for a link tag in a store of files (`mlruns/<experiment>/<run>/tags/<name>`)."""
    return path.parent.name == "tags" and path.name in LINK_TAGS


def _contents(folder: Path, paths: Iterable[Path]) -> dict[str, str]:
    """Return the content of texts, and the hash of other files, by name without ids."""
    found = {}
    for path in sorted(paths):
        name = without_ids(path.as_posix())
        try:
            content = (folder / path).read_bytes() if (folder / path).is_file() else b""
        except OSError as error:
            found[name] = type(error).__name__
            continue
        try:
            found[name] = content.decode() if len(content) < _LONGEST_TEXT and b"\0" not in content else ""
        except UnicodeDecodeError:
            found[name] = ""
        found[name] = found[name] or f"{len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}"
    return found


# MLflow


def _runs(tracking_uri: str, began_s: float) -> list[RunStarted]:
    """Return the runs that this user's processes have begun since, without other users' runs on a shared server."""
    try:
        runs = [found.run for found in find_runs(tracking_uri, since_ms=int(began_s * 1000))]
    except NoStoreError as error:
        if error.is_new:  # the command has begun no run
            return []
        raise
    return sorted(
        (run for run in runs if run.tags.get("mlflow.user", getpass.getuser()) == getpass.getuser()),
        key=lambda run: run.start_time_ms,
    )


def _stored(run: RunStarted) -> dict[str, str]:
    """Return all facts of a run by name; the first word of each name is the kind of data."""
    reader = open_run(run.tracking_uri, run.run_id, workspace=run.workspace)
    facts: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for name, value in (fact for kind in kinds.KINDS for fact in kind.facts(reader.stored, kind.read(reader))):
        plain = without_ids(name)
        counts[plain] += 1
        facts[f"{plain} ({counts[plain]})" if counts[plain] > 1 else plain] = value
    root = local_folder(run.artifact_uri)
    if root is not None and root.is_dir():
        files = _contents(root, [path.relative_to(root) for path in root.rglob("*") if path.is_file()])
        facts |= {f"artifact {name}": content for name, content in files.items()}
    return facts
