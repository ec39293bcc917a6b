"""Checks of `doctor` outside of this environment: both servers, and the runs that wait on this machine.

Each check has a deadline.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from autoinstrument.clearml_switches import refusal, switched_off
from autoinstrument.cli.checks import Check
from autoinstrument.journal.liveness import why_alive
from autoinstrument.journal.run_journal import RunJournal, RunJournals
from autoinstrument.journal.state_folder import distrusted, home, nearest
from autoinstrument.mlflow_store.store_errors import shown
from autoinstrument.mlflow_store.urls import local_store
from autoinstrument.scrubber import hide_in_text, without_credentials
from autoinstrument.settings import Settings
from autoinstrument.transport import own_python

_READ_S = 5
_CLEARML_S, _STORE_S = 30.0, 60.0
"""Deadline of each; the second includes the import of MLflow."""
_MAX_SKEW_S, _SLOW_S = 60.0, 2.0
_LOG_TAIL = 2**20
_PROBE = "from autoinstrument.clearml_api.probe import main; main()"
_STORE = "from autoinstrument.mlflow_store.probe import main; main()"
_NO_PROCESS = "Run this command by the Python of the training."
_NO_SERVER = "Check MLFLOW_TRACKING_URI, and that the server runs."


def tracking_server(uri: str) -> Iterator[Check]:
    """Check MLflow's tracking store by MLflow's own client, which uses the credentials of the training.

    A store on this machine that does not exist yet is not created.
    """
    what = "MLflow tracking server" if urlsplit(uri).scheme in ("http", "https") else "MLflow tracking store"
    address, path = shown(uri), local_store(uri)
    if path is not None and not path.exists() and not os.access(nearest(path), os.W_OK | os.X_OK):
        yield Check(what, False, f"{address} does not exist and cannot be created", "Check MLFLOW_TRACKING_URI.")
        return
    found = _asked_of_mlflow()
    if found.get("is_new"):
        yield Check(what, None, f"{address} {found['problem']} yet; the first run creates it")
        return
    problem, left_open = str(found.get("problem", "")), found.get("left_open", [])
    yield Check(what, not problem, f"{address} {problem or 'answers'}", str(found.get("remedy", "")))
    if left_open:
        yield Check(
            "MLflow runs", False, f"{len(left_open)} are RUNNING although their processes are gone",
            "`autoinstrument status` lists the latest, with the command that ends each.",
        )  # fmt: skip


def _asked_of_mlflow() -> dict[str, Any]:
    try:
        done = own_python.run(
            _STORE, timeout_s=_STORE_S, MLFLOW_HTTP_REQUEST_TIMEOUT=str(_READ_S), MLFLOW_HTTP_REQUEST_MAX_RETRIES="1"
        )
    except subprocess.TimeoutExpired:
        return {"problem": f"does not answer within {_STORE_S:.0f} s", "remedy": _NO_SERVER}
    except OSError as error:
        return {"problem": f"cannot be asked: {error}", "remedy": _NO_PROCESS}
    try:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found
    except (ValueError, IndexError):
        reason = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
        return {"problem": f"cannot be used: {hide_in_text(reason)[:300]}", "remedy": _NO_SERVER}


def clearml() -> Iterator[Check]:
    """Check ClearML's configuration, credentials, response time and clock."""
    if switch := switched_off():
        yield Check("ClearML server", False, refusal(switch), f"Unset {switch.partition('=')[0]} to send runs.")
        return
    found = _probed()
    places = [f"{name} (environment)" for name in found.get("variables", [])]
    places += [f"file {found['file']}"] if found.get("file") else []
    error = hide_in_text(str(found.get("error", "")))
    if "variables" not in found:
        yield Check("ClearML server", False, error, "Run `python -c 'import clearml'`, which shows the reason.")
        return
    yield Check(
        "ClearML configuration", bool(places), ", ".join(places) or "none found",
        "Run `clearml-init`, or set CLEARML_API_HOST, CLEARML_API_ACCESS_KEY and CLEARML_API_SECRET_KEY. Runs are "
        "recorded on disk meanwhile; `autoinstrument sync` makes their Tasks later.",
    )  # fmt: skip
    if error and not places:
        return  # there is no server to ask
    if error:
        yield Check(
            "ClearML server", False, error,
            "Check its address and key in the configuration, and that it runs. Runs are recorded on disk meanwhile; "
            "`autoinstrument sync` completes their Tasks later.",
        )  # fmt: skip
        return
    key = f" with the key {found['key']}" if found.get("key") else ""
    yield Check("ClearML server", True, f"{without_credentials(str(found['api']))} accepts the credentials{key}")
    trip_s, ahead_s = float(found["round_trip_s"]), float(found.get("ahead_s", 0.0))
    apart = f"ClearML's is {math.ceil(abs(ahead_s))} s {'behind' if ahead_s < 0 else 'ahead'}"
    yield Check(
        "ClearML round trip", trip_s < _SLOW_S, f"{trip_s * 1000:.0f} ms",
        "Training is not slowed down, but the end of the process may wait: see AUTOINSTRUMENT_EXIT_TIMEOUT.",
    )  # fmt: skip
    yield Check(
        "clock", abs(ahead_s) < _MAX_SKEW_S, apart if ahead_s else "ClearML's agrees with this machine's",
        "Set this machine's clock (NTP): it gives the times of scalars and console.",
    )  # fmt: skip


def _probed() -> dict[str, Any]:
    try:
        done = own_python.run(_PROBE, timeout_s=_CLEARML_S)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {_CLEARML_S:.0f} s"}
    except OSError as error:
        return {"error": f"cannot be asked: {error}"}
    try:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found
    except (ValueError, IndexError):
        return {"error": (done.stderr.strip().splitlines() or ["clearml cannot be imported"])[-1][:300]}


def recorded(settings: Settings) -> Iterator[Check]:
    """Check the runs that wait on this machine, and the log of the workers."""
    folder, pending, running, damaged = home(settings), 0, 0, 0
    for path in (folder, folder / "captures"):
        if reason := _why_distrusted(path):
            remedy = "Set AUTOINSTRUMENT_HOME to a folder that belongs to this user: nothing is kept in this one."
            yield Check("folder of journals", False, f"{path} {reason}", remedy)
            return
    if problem := _problem_of_folder(folder):
        yield Check("folder of journals", False, problem, "Set AUTOINSTRUMENT_HOME to a folder that can be written.")
    for path in RunJournals(settings):
        try:
            alive = bool(why_alive(RunJournal.load(path)))
        except FileNotFoundError:
            continue  # its Task has become complete in the meantime
        except (OSError, ValueError):
            damaged += 1
        else:
            running, pending = running + alive, pending + (not alive)
    yield Check(
        "recorded runs", not pending, f"{pending} pending, {running} in training, in {folder}",
        "`autoinstrument sync` completes their Tasks, `autoinstrument status` lists them.",
    )  # fmt: skip
    if damaged:
        yield Check(
            "recorded runs", False, f"{damaged} cannot be read", "`autoinstrument sync` names them and the reasons."
        )
    yield _log(folder / "worker.log")


def _why_distrusted(folder: Path) -> str:
    try:
        return distrusted(folder)
    except OSError:  # it does not exist, or a folder above it may not be searched, which `_problem_of_folder` reports
        return ""


def _problem_of_folder(folder: Path) -> str:
    """Return why a folder, which need not exist, cannot be written, "" if it can."""
    there = nearest(folder)
    if not there.is_dir():
        return f"{there} is not a folder"
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
