"""Run a command once, and gather what can be seen of it from outside and, by the probe, from inside."""

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
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from autoinstrument.check.probe import REPORT, TRACKING_URI
from autoinstrument.from_mlflow.addresses import local_folder, local_store
from autoinstrument.from_mlflow.links import LINK_TAGS
from autoinstrument.from_mlflow.store import default_tracking_uri, find_runs, read_run
from autoinstrument.records import (
    ArtifactLogged,
    InputsLogged,
    MetricsLogged,
    ParamsLogged,
    RunEnded,
    RunStarted,
    TagsSet,
)
from autoinstrument.startup_files import are_installed, python_path

Facts = dict[str, dict[str, str]]
"""Group → fact → value."""

LINES = ("stdout", "stderr")
"""Groups whose facts are lines by their number, so that one line more shifts all others."""

_HOOK = str(Path(__file__).parent / "hook")
_OURS = re.compile(rb"autoinstrument: [^\n]*\n")
"""A line of the agent's; it may have come behind the first half of another line."""
_LONGEST_TEXT = 256 * 1024
_SKIPPED = {".git", "__pycache__"}
_IDS = re.compile(r"m-[0-9a-f]{32}|[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Looked(NamedTuple):
    """A command that was run.

    Attributes:
        probed: the probe has seen the end of a Python process of the command.
        runs: how many MLflow runs it has made.
    """

    facts: Facts
    probed: bool
    runs: int


def look(command: Sequence[str], environ: Mapping[str, str], *, agent: bool, tracking_uri: str = "") -> Looked:
    """Run a command in the working directory, without input, and return what was seen.

    Args:
        command: the program and its arguments.
        environ: its environment; the agent's switch is set or taken away.
        agent: whether the agent is on.
        tracking_uri: the MLflow store to look for the command's runs in, where the command does not tell; MLflow's own
            choice if "".
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
    runs = _runs(tracking_uri, began_s)
    for number, run in enumerate(runs, 1):
        facts |= _stored(run, f"MLflow run {number}")
    facts["MLflow"] = {"runs": str(len(runs))}
    return Looked(facts, bool(probe), len(runs))


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
    """Return when each file below a folder was written last."""
    found = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED]
        for name in names:
            with contextlib.suppress(OSError):  # it is being removed
                found[Path(place, name).relative_to(folder)] = Path(place, name).stat().st_mtime
    return found


def _is_link_tag(path: Path) -> bool:
    """Tell whether a file is one of the link tags in a store of files (`mlruns/<experiment>/<run>/tags/<name>`)."""
    return path.parent.name == "tags" and path.name in LINK_TAGS


def _contents(folder: Path, paths: Iterable[Path]) -> dict[str, str]:
    """Return the content of texts, the hash of anything else, by name without ids."""
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
    """Return the runs that this user's processes have begun since; on a shared server others' are left out."""
    try:
        uri = tracking_uri or default_tracking_uri()
        path = local_store(uri)
        if path is not None and not path.exists():  # looking into it would make it
            return []
        runs = [found.run for found in find_runs(uri, since_ms=int(began_s * 1000))]
    except Exception:  # no store, or one that this process cannot reach: there is nothing to compare then
        return []
    return sorted(
        (run for run in runs if run.tags.get("mlflow.user", getpass.getuser()) == getpass.getuser()),
        key=lambda run: run.start_time_ms,
    )


def _stored(run: RunStarted, group: str) -> Facts:
    _, records = read_run(run.tracking_uri, run.run_id)
    facts = {"name": run.run_name, "experiment": run.experiment_name, "parent": "yes" if run.parent_run_id else "no"}
    for record in records:
        if isinstance(record, ParamsLogged):
            facts |= {f"param {key}": value for key, value, _ in record.params}
        elif isinstance(record, MetricsLogged):
            key = record.points[0][0] if record.points else ""
            facts[f"metric {key}"] = repr(sorted((step, value) for _, value, _, step in record.points))
        elif isinstance(record, TagsSet):
            facts |= {f"tag {key}": value for key, value in record.tags.items() if key not in LINK_TAGS}
        elif isinstance(record, ArtifactLogged):
            facts[f"artifact {without_ids(record.path)}"] = f"{record.size} bytes"
        elif isinstance(record, InputsLogged):
            facts["data sets"] = repr([dataset["name"] for dataset in record.datasets])
        elif isinstance(record, RunEnded):
            facts["status"] = record.status
    root = local_folder(run.artifact_uri)
    if root is not None and root.is_dir():
        files = _contents(root, [path.relative_to(root) for path in root.rglob("*") if path.is_file()])
        facts |= {f"artifact {name}": content for name, content in files.items()}
    return {group: facts}
