"""The parts of the SDK that are used work without the rest, which is loaded on demand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autoinstrument.clearml_api import lean_import
from tests.clearml_server import ClearMLServer
from tests.startup.environment import ROOT

_PROGRAM = """
import json, sys
from autoinstrument.clearml_api import lean_import
lean_import.prepare()
from autoinstrument.clearml_api import sdk
from pathlib import Path

loaded = set(sys.modules)
session = sdk.log_in()
page = sdk.task_page("task", "project")
lean = set(sys.modules)
stored = sdk.store_file(Path(sys.argv[1]), f"file://{sys.argv[1]}.copy")
import clearml, jwt
print(json.dumps({
    "left out": [name for name in ("numpy", "pandas", "clearml.task", "clearml.datasets", "tornado") if name in lean],
    "hidden": [name for name in ("cryptography", "OpenSSL", "pandas", "tornado") if sys.modules.get(name, ...) is None],
    "early": sorted({"jwt", "clearml.config", "clearml.backend_api"} & loaded),
    "status": sdk.send(session, "debug.ping", {}).status_code,
    "stored": stored, "page": page, "version": clearml.__version__,
    "signatures": jwt.api_jws.has_crypto,
    "task": clearml.Task.__module__, "again": clearml.Task is sys.modules["clearml.task"].Task,
    "same page": clearml.Task.get_task_output_log_web_page("task", "project") == page,
}))
"""


def _run(program: str, *arguments: str, path: tuple[Path, ...] = ()) -> dict[str, Any]:
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT)))}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.interpreter
def test_the_parts_that_are_loaded_at_once_and_later(server: ClearMLServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    found = _run(_PROGRAM, str(tmp_path / "file"))
    assert found["left out"] == found["hidden"] == []
    assert found["early"] == ["clearml.backend_api", "clearml.config"], "another `jwt` is for everybody else"
    assert found["status"] == 200
    assert found["stored"]
    assert (tmp_path / "file.copy").read_text() == "content"
    assert found["signatures"], "the other `jwt` knows all signatures"
    assert found["task"] == "clearml.task"
    assert found["again"]
    assert found["same page"] or "/experiments/" not in found["page"], "the SDK of 1.16 knows the old address alone"


def test_an_sdk_of_another_shape_is_imported_as_a_whole(tmp_path: Path) -> None:
    package = tmp_path / "clearml"
    (package / "backend_api").mkdir(parents=True)
    (package / "__init__.py").write_text("whole = True\n")
    (package / "backend_api" / "__init__.py").write_text("")
    program = (
        "import json; from autoinstrument.clearml_api import sdk; sdk.load(lean=True)\n"
        "import clearml; print(json.dumps(vars(clearml).get('whole')))"
    )
    assert _run(program, path=(tmp_path,)) is True


def test_without_the_sdk_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "clearml"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(lean_import.PathFinder, "find_spec", lambda name: None)
    lean_import.prepare()
    assert "clearml" not in sys.modules


_PROXIES = """
import json, os
from autoinstrument.clearml_api import lean_import
os.environ |= {"HTTPS_PROXY": "http://upper:1", "https_proxy": "http://proxy:1", "NO_PROXY": "inside"}
lean_import.prepare()
import requests

def proxies(url):
    return requests.Session().merge_environment_settings(url, {}, None, None, None)["proxies"]

proxies("https://host/")["https"] = "changed by a caller"
print(json.dumps([dict(proxies(url)) for url in ("https://host/", "https://inside/")]))
"""


def test_requests_takes_the_proxies_of_the_environment() -> None:
    outside, inside = _run(_PROXIES)
    assert outside["https"] == "http://proxy:1"
    assert not inside.get("https")
