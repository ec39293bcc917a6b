"""What `doctor` looks at outside: MLflow's server, ClearML's server, and what waits on this machine. Nothing hangs."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from autoinstrument.capture.secrets import hide_in_text, without_credentials
from autoinstrument.cli.checks import Check
from autoinstrument.from_mlflow.addresses import local_store
from autoinstrument.mirror.captures import Capture, Captures, distrusted, home, nearest
from autoinstrument.mirror.liveness import why_alive
from autoinstrument.settings import Settings
from autoinstrument.to_clearml.switches import refusal, switched_off
from autoinstrument.transport.launch import HIDDEN

_CONNECT_S, _READ_S = 3.0, 5.0
_CLEARML_S = _STORE_S = 30.0
_MAX_SKEW_S, _SLOW_S = 60.0, 2.0
_LOG_TAIL = 2**20
# Without the working directory: a `logging.py` that stands there is not for us.
_ELSEWHERE = "import sys; sys.path[:] = [path for path in sys.path if path]\n"
_PROBE = "from autoinstrument.to_clearml.probe import main; main()"
_STORE = "from autoinstrument.from_mlflow.store import latest_runs; latest_runs(limit=1)"


def tracking_server(uri: str) -> Check:
    """Look whether MLflow's tracking store is there."""
    shown = without_credentials(uri)
    remedy = "Check MLFLOW_TRACKING_URI, and that the server runs."
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https"):
        problem = _problem_of_server(uri)
        return Check("MLflow tracking server", not problem, f"{shown} {problem or 'answers'}", remedy)
    path = local_store(uri)
    if path is not None:
        there = path.exists() or os.access(path.parent, os.W_OK)
        return Check(
            "MLflow tracking store", there, f"{shown} {'is there' if path.exists() else 'is not there yet'}", remedy
        )
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.hostname and port:
        try:
            socket.create_connection((parts.hostname, port), timeout=_CONNECT_S).close()
        except OSError as error:
            return Check("MLflow tracking store", False, f"{shown}: {error.strerror or error}", remedy)
        return Check("MLflow tracking store", True, f"{shown} takes connections")
    problem = _asked_of_mlflow()
    return Check("MLflow tracking store", not problem, f"{shown} {problem or 'answers'}".strip(), remedy)


def _problem_of_server(uri: str) -> str:
    import requests

    from autoinstrument.answers import UnreadableError, bound

    try:
        with requests.Session() as session:
            bound(session)  # the bodies of redirections are read
            answer = session.get(f"{uri.rstrip('/')}/health", timeout=(_CONNECT_S, _READ_S), stream=True)
            answer.close()
    except UnreadableError as error:
        return f"cannot be used: {error}"
    except requests.exceptions.Timeout:
        return "does not answer in time"
    except (requests.exceptions.RequestException, ValueError):
        return "cannot be reached"
    if answer.status_code in (401, 403):
        return f"does not accept the credentials ({answer.status_code})"
    return f"answers with {answer.status_code}" if answer.status_code >= 500 else ""


def _asked_of_mlflow() -> str:
    """Return what MLflow itself says against a store of a kind that is not looked at from outside, "" for nothing."""
    try:
        done = _python(_STORE, _STORE_S)
    except subprocess.TimeoutExpired:
        return f"does not answer within {_STORE_S:.0f} s"
    said = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
    return f"cannot be used: {hide_in_text(said)[:300]}" if done.returncode else ""


def _python(code: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, since what it does may hang.

    Raises:
        subprocess.TimeoutExpired: it did.
    """
    return subprocess.run(
        [sys.executable, "-c", _ELSEWHERE + code], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        env={name: value for name, value in os.environ.items() if name not in HIDDEN},
        errors="replace", timeout=seconds, check=False,
    )  # fmt: skip


def clearml() -> Iterator[Check]:
    """Look at ClearML's configuration, credentials, answer time and clock."""
    if switch := switched_off():
        yield Check("ClearML server", False, refusal(switch), f"Unset {switch.partition('=')[0]} to send runs.")
        return
    found = _probed()
    places = [f"{name} (environment)" for name in found.get("variables", [])]
    places += [f"file {found['file']}"] if found.get("file") else []
    remedy = "Run `clearml-init`, or set CLEARML_API_HOST, CLEARML_API_ACCESS_KEY and CLEARML_API_SECRET_KEY."
    yield Check("ClearML configuration", bool(places), ", ".join(places) or "none found", remedy)
    error = hide_in_text(str(found.get("error", "")))
    if error:
        yield Check(
            "ClearML server", False, error, "Runs are recorded meanwhile; `autoinstrument sync` completes them."
        )
        return
    key = f" with the key {found['key']}" if found.get("key") else ""
    yield Check("ClearML server", True, f"{without_credentials(str(found['api']))} accepts the credentials{key}")
    side = "behind" if float(found.get("ahead_s", 0.0)) < 0 else "ahead"
    trip_s, ahead_s = float(found["round_trip_s"]), float(found.get("ahead_s", 0.0))
    yield Check(
        "ClearML round trip", trip_s < _SLOW_S, f"{trip_s * 1000:.0f} ms",
        "Training is not slowed down, but its end may wait: see AUTOINSTRUMENT_EXIT_TIMEOUT.",
    )  # fmt: skip
    yield Check(
        "clock", abs(ahead_s) < _MAX_SKEW_S, f"ClearML's is {abs(ahead_s):.0f} s {side}",
        "Set this machine's clock (NTP): times of curves and console are taken from it.",
    )  # fmt: skip


def _probed() -> dict[str, Any]:
    try:
        done = _python(_PROBE, _CLEARML_S)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {_CLEARML_S:.0f} s"}
    except (OSError, ValueError, IndexError):
        return {"error": (done.stderr.strip().splitlines() or ["clearml cannot be imported"])[-1][:300]}


def recorded(settings: Settings) -> Iterator[Check]:
    """Look at what waits on this machine, and at what the workers had to say."""
    folder, pending, running, damaged = home(settings), 0, 0, 0
    for path in (folder, folder / "captures"):
        if (path.exists() or path.is_symlink()) and distrusted(path):
            remedy = "Set AUTOINSTRUMENT_HOME to a folder of this user's own: nothing is kept here."
            yield Check("folder of captures", False, f"{path} {distrusted(path)}", remedy)
            return
    if problem := _problem_of_folder(folder):
        yield Check("folder of captures", False, problem, "Set AUTOINSTRUMENT_HOME to a folder that can be written.")
    for path in Captures(settings):
        try:
            alive = bool(why_alive(Capture.load(path)))
        except (OSError, ValueError, KeyError):
            damaged += 1
        else:
            running, pending = running + alive, pending + (not alive)
    yield Check(
        "recorded runs", not pending, f"{pending} pending, {running} in training, in {folder}",
        "`autoinstrument sync` completes them, `autoinstrument status` lists them.",
    )  # fmt: skip
    if damaged:
        yield Check("recorded runs", False, f"{damaged} cannot be read", "`autoinstrument sync` names them.")
    yield _log(folder / "worker.log")


def _problem_of_folder(folder: Path) -> str:
    """Return why a folder, or one that is to be made, cannot be written, "" where it can."""
    there = nearest(folder)
    if not there.is_dir():
        return f"{there} is no folder"
    return "" if os.access(there, os.W_OK | os.X_OK) else f"{there} cannot be written"


def _log(file: Path) -> Check:
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - _LOG_TAIL))
            lines = stream.read(_LOG_TAIL).decode("utf-8", "replace").splitlines()
    except OSError:
        return Check("worker.log", True, "no errors")
    errors = [line for line in lines if re.search(r"\] (WARNING|ERROR|CRITICAL) ", line)]
    detail = f"{len(errors)} errors, the last: {hide_in_text(errors[-1])[:300]}" if errors else "no errors"
    return Check("worker.log", None if errors else True, f"{detail} ({file})" if errors else detail)
