"""A session with a server that answers anything; run by test_any_answer.py, prints "done" if no answer did harm."""

from __future__ import annotations

import gzip
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.security.answers import LOGIN, TOKEN

response: dict[str, Any] = {"login": (200, LOGIN), "status": 200, "body": b"{}", "packing": "identity", "date": ""}


class Handler(BaseHTTPRequestHandler):
    protocol_version, wbufsize = "HTTP/1.1", -1

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_login = "auth.login" in self.path
        status, body = response["login"] if is_login else (response["status"], response["body"])
        self.send_response_only(status)
        self.send_header("Date", response["date"])
        self.send_header("Content-Encoding", "identity" if is_login else response["packing"])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: Any) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
for name in ("API", "WEB", "FILES"):
    os.environ[f"CLEARML_{name}_HOST"] = f"http://127.0.0.1:{server.server_port}"
os.environ |= {"CLEARML_API_ACCESS_KEY": "k", "CLEARML_API_SECRET_KEY": "s", "CLEARML_CONFIG_FILE": "/nowhere"}

from autoinstrument.clearml_api import attempts, probe  # noqa: E402
from autoinstrument.clearml_api.errors import ClearMLError  # noqa: E402
from autoinstrument.clearml_api.file_uploads import FileUploads  # noqa: E402
from autoinstrument.clearml_api.session import Session  # noqa: E402
from autoinstrument.clearml_api.tasks import Task, Tasks  # noqa: E402
from autoinstrument.clone_run import read_task  # noqa: E402
from autoinstrument.journal.run_journal import RunJournal  # noqa: E402
from autoinstrument.mirror.context import RunContext  # noqa: E402
from autoinstrument.mirror.kinds.model_writer import ModelWriter  # noqa: E402
from autoinstrument.mirror.mapping.run_status import End  # noqa: E402
from autoinstrument.mirror.rejections import Rejections  # noqa: E402
from autoinstrument.mirror.run_mirror import RunMirror  # noqa: E402
from autoinstrument.mirror.uploads import Uploads  # noqa: E402
from autoinstrument.mlflow_store.metric_history import History  # noqa: E402
from autoinstrument.mlflow_store.registry import Registry  # noqa: E402
from autoinstrument.mlflow_store.run_reader import RunReader  # noqa: E402
from autoinstrument.mlflow_store.runs import StoredRun  # noqa: E402  (the SDK reads the variables when imported)
from autoinstrument.records import (  # noqa: E402
    ArtifactLogged,
    Dataset,
    InputModel,
    InputsLogged,
    Model,
    ModelsLogged,
    ModelsRead,
    ParamsLogged,
    Prompt,
    PromptsUsed,
    Record,
    RunEnded,
    RunStarted,
    TracesLogged,
)
from autoinstrument.settings import Settings  # noqa: E402
from autoinstrument.sync import verify  # noqa: E402
from autoinstrument.sync.selection import Selection  # noqa: E402
from autoinstrument.sync.stored import _without_work  # noqa: E402
from autoinstrument.sync.task_search import with_tasks  # noqa: E402

attempts.jittered = lambda least_s, most_s: 0.0  # many answers are tried three times
RUN = RunStarted("run", "name", "0", "e", "http://h", "", "file:///nowhere", 1, "", {"a": "b"}, False, True, "")
STORED = StoredRun(RUN, "FINISHED", False, {"p": "1"}, {"loss": 1.0})
LOGGED = ModelsLogged(
    "run",
    [
        Model(
            uri="models:/m-1",
            name="m",
            location="/m",
            revision="",
            flavors=[],
            tags={},
            status="READY",
            kind="",
            source_run="run",
            params={},
            points=[("loss", 1.0, 0, 0, "", "")],
            versions=[],
        )
    ],
)
BASE = InputModel(uri="models:/m-2", name="base", location="/m", flavors=[], source_run="")
DATA_SET = Dataset(name="d", digest="1", source_type="", source="0" * 32, schema="", profile="", tags={})
PROMPT = Prompt(
    name="p", version="1", template="t", is_chat=False, aliases=[], description="", tags={}, response_format="",
    model_config="",
)  # fmt: skip
TASK = Task("id", "", False, {}, {}, "in_progress", "")


# In place of MLflow's store: these requests are about the Task.
class Reader(RunReader):
    def __init__(self) -> None:
        self.stored, self.run_id = STORED, "run"

    def histories(self) -> Iterator[History]:
        yield History("run", "loss", lambda: iter([[("loss", 1.0, 1, 0)]]))

    def files(self) -> Iterator[ArtifactLogged]:
        yield ArtifactLogged("run", "a.txt", 1, 0, None)

    def state(self, kind: str) -> Record:
        return {
            "models": LOGGED,
            "input models": ModelsRead("run", [BASE]),
            "inputs": InputsLogged("run", [DATA_SET]),
            "prompts": PromptsUsed("run", [PROMPT]),
            "traces": TracesLogged("run", 1, False),
        }[kind]

    def end(self) -> RunEnded:
        return RunEnded("run", "FINISHED", 1, "", False)


verify.open_run = lambda *_, **__: Reader()  # type: ignore[assignment]


def context(tasks: Tasks) -> RunContext:
    """Return the state that the parts of a run share."""
    journal = RunJournal(Path("/nowhere"), RUN, None)
    return RunContext(journal, Settings(), tasks, Uploads(FileUploads(session)), Rejections("run"))


def mirror(tasks: Tasks) -> None:
    """Complete a run's Task as `sync` does, without MLflow's part."""
    journal = RunJournal(Path("/nowhere"), RUN, None)
    journal.kept, journal.task_id = False, "id"
    mirrored = RunMirror(journal, Settings(), tasks, Uploads(FileUploads(session)))
    mirrored.take(ParamsLogged("run", [("p", "1", "")]))
    mirrored.take(ModelsRead("run", [BASE]))
    mirrored.take(PromptsUsed("run", [PROMPT]))
    mirrored.end_as(End("completed", "", ""))
    mirrored.flush()


def look(tasks: Tasks) -> None:
    """Look for work as `sync` does."""
    for stored, task, parent in with_tasks([STORED], tasks):
        if isinstance(task, ClearMLError):
            raise task
        _without_work(stored, task, parent, Registry(""), Selection(), Settings())


CALLS: list[Callable[[Tasks], Any]] = [
    lambda tasks: tasks.create("project", {"name": "name"}),
    lambda tasks: tasks.of_run("run"),
    lambda tasks: tasks.get("id"),
    lambda tasks: tasks.find("id", adopted=False),
    lambda tasks: tasks.add_configuration([{"id": "id"}], "autoinstrument"),
    lambda tasks: tasks.statuses(["id"]),
    lambda tasks: list(tasks.curve_points("id", "title", "series")),
    lambda tasks: tasks.add_events([{"type": "log", "task": "id"}]),
    lambda tasks: tasks.models.of_task("id"),
    lambda tasks: tasks.models.create("id", "", {}),
    lambda tasks: tasks.data_sets(["0" * 32]),
    lambda tasks: tasks.shared_models.made("", {}, [], "models:/m-2"),
    lambda tasks: tasks.shared_models.unlink_inputs("id", ["name"]),
    lambda tasks: ModelWriter(context(tasks)).write(TASK, LOGGED),
    lambda tasks: list(verify.differences(STORED, Settings(), tasks)),
    lambda tasks: json.dumps(read_task.described(session, "id")),
    mirror,
    look,
]

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from(["id", "task", "tasks", "projects", "models", "variants", "added", "returned", "scroll_id"])


def of(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly valid answers, so that the code for their inner parts is reached, too."""
    return st.integers(0, 15).flatmap(lambda number: good if number else anything)


def named(item: st.SearchStrategy[Any], *more: str) -> st.SearchStrategy[Any]:
    return of(st.dictionaries(st.sampled_from(["MLflow", "properties", "a", *more]), item, max_size=3))


words = of(st.sampled_from(["", "a", "id", "run", "completed", "in_progress", "development"]))
item = of(st.fixed_dictionaries({}, optional={"name": words, "value": words}))
artifact = st.fixed_dictionaries(
    {}, optional={"key": words, "mode": words, "uri": words, "display_data": of(st.lists(of(st.lists(words))))}
)
last = of(st.fixed_dictionaries({}, optional={"metric": words, "variant": words, "count": of(st.integers())}))
linked = of(st.lists(of(st.fixed_dictionaries({}, optional={"name": words, "model": words})), max_size=2))
task = st.fixed_dictionaries(
    {"id": words},
    optional={
        **dict.fromkeys(("name", "status", "status_reason", "status_message", "comment", "parent", "project"), words),
        "system_tags": of(st.lists(words, max_size=2)),
        "hyperparams": named(named(item, "mlflow_run_id", "mlflow_task_adopted")),
        "configuration": named(item, "autoinstrument"),
        "last_metrics": named(named(last)),
        "execution": of(st.fixed_dictionaries({}, optional={"artifacts": of(st.lists(of(artifact), max_size=2))})),
        "models": of(st.fixed_dictionaries({}, optional={"input": linked, "output": linked})),
        "output": of(st.fixed_dictionaries({}, optional={"destination": words})),
        "script": of(st.fixed_dictionaries({}, optional={"entry_point": words})),
    },
)
model = st.fixed_dictionaries(
    {"id": words}, optional={"name": words, "uri": words, "tags": of(st.lists(words)), "metadata": named(item)}
)
curve = of(st.fixed_dictionaries({"iter": of(st.lists(st.integers(), max_size=3)), "y": of(st.lists(st.floats()))}))
kept = of(st.fixed_dictionaries({"task": words, "configuration": of(st.lists(item, max_size=2))}))
likely = st.fixed_dictionaries(
    {"task": of(task), "tasks": of(st.lists(of(task), max_size=2)), "models": of(st.lists(of(model), max_size=2))},
    optional={
        "id": words,
        "variants": of(st.fixed_dictionaries({"series": curve})),
        "returned": of(st.integers()),
        "configurations": of(st.lists(kept, max_size=2)),
    },
)

session = Session()


@settings(max_examples=60, deadline=None, database=None)
@given(
    data=likely | likely | st.dictionaries(names, anything) | anything,
    raw=st.none() | st.none() | st.none() | st.binary(max_size=50),
    packed=st.booleans(),
    meta=st.just({}) | anything,
    status=st.sampled_from([200, 200, 200, 200, 400, 404]),
)
def check(data: Any, raw: bytes | None, packed: bool, meta: Any, status: int) -> None:
    response["status"] = status
    response["body"] = json.dumps({"meta": meta, "data": data}).encode() if raw is None else raw
    response["packing"] = "gzip" if packed else "identity"
    if packed:
        response["body"] = gzip.compress(response["body"])
    for call in CALLS:
        is_one_line_or_nothing(lambda call=call: call(Tasks(session)))  # type: ignore[misc]


@settings(max_examples=25, deadline=None, database=None)
@given(
    answer=st.fixed_dictionaries({"data": of(st.fixed_dictionaries({"token": words | st.just(TOKEN)}))}) | anything,
    status=st.sampled_from([200, 200, 400, 401, 500]),
    date=st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=30),
)
def check_login(answer: Any, status: int, date: str) -> None:
    response["login"], response["status"], response["date"] = (status, json.dumps(answer).encode()), 200, date
    is_one_line_or_nothing(Session().login.addresses)
    assert "\n" not in probe.described()["error"]


def is_one_line_or_nothing(call: Callable[[], Any]) -> None:
    try:
        call()
    except ClearMLError as error:
        if len(str(error)) > 1000 or "\n" in str(error):
            raise AssertionError("a message that is no line") from error


check()
response |= {"status": 200, "body": b"[" * 100_000, "packing": "identity"}
try:
    session.call("tasks.get_by_id", task="id")
    raise AssertionError("it was read")
except ClearMLError:
    pass
check_login()
print("done")
sys.stdout.flush()
os._exit(0)  # threads of the SDK
