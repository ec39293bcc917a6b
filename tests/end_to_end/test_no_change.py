"""The no-change proof: scripts of all kinds, run without the agent and with it, by the kit that users have."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from autoinstrument.check.comparison import Comparison, Difference, compare
from autoinstrument.check.facts import Looked, look
from autoinstrument.check.words import as_words
from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place

pytestmark = pytest.mark.usefixtures("whole_end")

NUMBERS = """
import hashlib, pickle, random, warnings
import mlflow, numpy, torch
from sklearn.ensemble import RandomForestClassifier

generator = numpy.random.default_rng()  # not seeded: numpy's own state is what it is seeded from
seeded, own = numpy.random.default_rng(3), random.Random(4)
random.seed(1), numpy.random.seed(2), torch.manual_seed(5)
points, labels = numpy.random.rand(200, 4), numpy.random.randint(0, 2, 200)
with mlflow.start_run(run_name="numbers"):
    forest = RandomForestClassifier(5).fit(points, labels)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
    optimizer = torch.optim.Adam(net.parameters())
    for step in range(20):
        loss = torch.nn.functional.mse_loss(net(torch.rand(16, 4)), torch.rand(16, 1))
        optimizer.zero_grad(), loss.backward(), optimizer.step()
        mlflow.log_metrics({"loss": float(loss), "luck": random.random() + seeded.random() + own.random()}, step=step)
    mlflow.log_params({"trees": 5, "score": forest.score(points, labels)})
    mlflow.log_text("notes", "notes.txt")
    mlflow.set_tag("kind", "test")
warnings.warn("this is odd")
open("forest.pickle", "wb").write(pickle.dumps(forest))
weights = b"".join(value.numpy().tobytes() for value in net.state_dict().values())
print(hashlib.sha256(weights).hexdigest(), hashlib.sha256(pickle.dumps(forest)).hexdigest())
"""

PROCESSES = """
import asyncio, multiprocessing, os, signal, subprocess, sys
import joblib, mlflow

def work(number):
    mlflow.log_metric(f"of child {number}", number)
    return number, os.environ.get("PYTHONPATH"), sorted(signal.Signals(n).name for n in (2, 15)
        if signal.getsignal(n) not in (signal.SIG_DFL, signal.default_int_handler))

async def serve():
    with mlflow.start_run(run_name="in a loop"):
        client, run_id = mlflow.MlflowClient(), mlflow.active_run().info.run_id
        await asyncio.gather(*(asyncio.to_thread(client.log_metric, run_id, f"metric {n}", n) for n in range(3)))
        await asyncio.sleep(0.01)
    return len(asyncio.all_tasks())

def pre_fork():
    '''As gunicorn does it: the application is loaded, workers are forked and served signals, one is replaced.'''
    children = []
    for number in range(3):
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, lambda *_: os._exit(40 + number))
            mlflow.MlflowClient().set_tag(run.info.run_id, f"worker {number}", "up")
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        children.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]

if __name__ == "__main__":
    print("loop", asyncio.run(serve()))
    with mlflow.start_run(run_name="processes") as run:
        os.environ["MLFLOW_RUN_ID"] = run.info.run_id
        print("pre-fork", pre_fork())
        for method in ("fork", "spawn"):
            with multiprocessing.get_context(method).Pool(1) as pool:
                print(method, pool.map(work, [1]))
        print("loky", joblib.Parallel(2)(joblib.delayed(work)(n) for n in (3, 4)))
        del os.environ["MLFLOW_RUN_ID"]
    try:
        print("children left", os.waitpid(-1, os.WNOHANG))
    except ChildProcessError:
        print("no children left")
    tests = [sys.executable, "-m", "pytest", "-q", "-n", "1", "-p", "no:cacheprovider", "some_tests.py"]
    print(subprocess.run(tests, capture_output=True, text=True).stdout.splitlines()[-1].partition(" in ")[0])
"""

TESTS = """
import mlflow

def test_one():
    with mlflow.start_run(run_name="test one"):
        mlflow.log_metric("a", 1)

def test_two():
    with mlflow.start_run(run_name="test two"):
        raise AssertionError("as it is meant to be")
"""

QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true"}
"""MLflow's telemetry draws random numbers, on a thread of its own, whenever it gets to it."""


def checked(place: Place, *command: str) -> dict[str, Any]:
    done = place.command("run", "--check", "--json", "--", "python", *command, seconds=240, **QUIET)
    assert done.stderr == ""
    outcome: dict[str, Any] = json.loads(done.stdout)
    assert done.code == (1 if outcome["differences"] else 0)
    return outcome


def looked(place: Place, monkeypatch: Any, *command: str) -> tuple[Looked, Looked]:
    """Look at a script that does the same each time, which makes the third run needless."""
    monkeypatch.chdir(place.folder)
    environ = place.environment(agent=False, AUTOINSTRUMENT_HOME=str(place.home), **QUIET)
    off, on = (look([place.python, *command], environ, agent=agent, tracking_uri=place.uri) for agent in (False, True))
    return off, on


@pytest.mark.timeout(600)
def test_the_numbers_and_the_models_are_the_same(place: Place) -> None:
    """Random streams, a forest and a network bit for bit, output, warnings, files, and what MLflow stores."""
    pytest.importorskip("torch")
    place.write("train.py", NUMBERS)
    outcome = checked(place, "train.py")
    assert outcome["differences"] == []
    assert (outcome["runs"], outcome["probed"]) == (1, True)
    kept = ("process", "file", "stdout", "stderr", "MLflow run 1: metric", "MLflow run 1: param")
    assert [what for what in outcome["varying"] if what.startswith(kept)] == []
    assert [what for what in outcome["varying"] if "random stream" in what and "stream generator" not in what] == []


@pytest.mark.timeout(900)  # twelve processes import MLflow
def test_loops_and_other_processes_are_the_same(place: Place, server: ClearMLServer, monkeypatch: Any) -> None:
    """An asyncio loop, a pre-fork server, multiprocessing by fork and spawn, loky, and tests under pytest-xdist."""
    place.write("train.py", PROCESSES)
    place.write("some_tests.py", TESTS)
    off, on = looked(place, monkeypatch, "train.py")
    for what in ("process", "stdout", "stderr", "file", "MLflow"):
        assert on.facts[what] == off.facts[what], what
    assert on.runs == 4
    different = {what for what, value in off.facts["state"].items() if value != on.facts["state"].get(what)}
    assert not {what for what in different if not what.startswith(("random", "threads"))}
    made = {task["name"] for task in server.tasks}
    assert {"in a loop", "processes", "test one", "test two"} <= made


DEATHS = """
import atexit, os, random, signal, sys, time
import mlflow, numpy

random.seed(1), numpy.random.seed(1)
death = sys.argv[1]
atexit.register(lambda: print("an exit handler of the script's own"))
if death == "own handler":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
elif death == "SIGINT":  # it may be ignored where the tests were started
    signal.signal(signal.SIGINT, signal.default_int_handler)
with mlflow.start_run():
    mlflow.log_metric("loss", 1)
    print("alive", flush=True)
    if death == "exception":
        raise ValueError("lost")
    elif death == "exit":
        sys.exit(3)
    elif death == "os._exit":
        os._exit(4)
    os.kill(os.getpid(), getattr(signal, death, signal.SIGTERM))
    time.sleep(30)
"""


@pytest.fixture(scope="module")
def deadly(server: ClearMLServer, new_place: Callable[[ClearMLServer | None], Place]) -> Place:
    place = new_place(server)
    place.write("train.py", DEATHS)
    return place


@pytest.mark.parametrize(
    ("death", "end"),
    [
        ("exception", "code 1"),
        ("exit", "code 3"),
        ("os._exit", "code 4"),
        ("SIGTERM", "signal SIGTERM"),
        ("SIGINT", "signal SIGINT"),
        ("SIGKILL", "signal SIGKILL"),
        ("own handler", "code 9"),
    ],
)
def test_a_process_dies_as_it_would_have(deadly: Place, monkeypatch: Any, death: str, end: str) -> None:
    """Exit code or signal, traceback, exit handlers, and what MLflow is left with."""
    off, on = looked(deadly, monkeypatch, "train.py", death)
    assert on.facts["process"]["exit"] == end
    for one in (off, on):
        run = one.facts["MLflow run 1"]
        assert run.pop("name")  # MLflow makes one up
        assert run.pop("tag mlflow.runName")
        one.facts["state"].pop("threads, after all exit handlers", None)
    assert on.facts == off.facts
    assert on.probed is (death in ("exception", "exit", "own handler", "SIGINT"))


CHANGED = """
import os, random, signal, sys, threading, time
random.seed(1)
print("always")
print("now", time.time())
print(random.Random().random(), file=sys.stderr)
print("half a line", end="", file=sys.stderr)
if os.environ.get("AUTOINSTRUMENT_ENABLED"):  # what is the agent's own, or MLflow's for its makers
    print("autoinstrument: run r is ClearML Task t", file=sys.stderr)
    os.makedirs("mlruns/0/r/tags")
    open("mlruns/0/r/tags/clearml.task_id", "w").write("t")
    threading.Thread(target=time.sleep, args=(60,), daemon=True, name="MLflowTelemetryConsumer-0").start()
print(" and the other half", file=sys.stderr)
open("written.txt", "w").write("as ever")
if os.environ.get("AUTOINSTRUMENT_ENABLED"):
    random.random()
    print("only with the agent")
    print("and on stderr", file=sys.stderr)
    open("written.txt", "w").write("otherwise")
    open("more.bin", "wb").write(bytes(9))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.excepthook = lambda *error: None
    os.environ["MORE"] = "1"
    sys.path.append("/more")
    threading.Thread(target=time.sleep, args=(60,), daemon=True, name="more").start()
    sys.exit(5)
"""


def test_the_kit_sees_what_an_agent_could_change(place: Place) -> None:
    """A script that does these things itself where the switch is on stands in for an agent that is not as it was."""
    place.write("train.py", CHANGED)
    outcome = checked(place, "train.py")
    found = {difference["what"].partition(", ")[0] for difference in outcome["differences"]}
    assert found == {
        "process: exit", "stdout: line 2", "stderr: line 2", "file: written.txt", "file: more.bin",
        "state: random stream random", "state: signal handler SIGTERM", "state: function sys.excepthook",
        "state: environment variable MORE", "state: sys.path", "state: threads",
    }  # fmt: skip
    (line,) = (difference for difference in outcome["differences"] if difference["what"].startswith("stdout"))
    assert line["what"] == "stdout: line 2, 1 after it"
    assert (line["off"], line["on"]) == (None, "only with the agent\n")
    assert outcome["varying"] == []
    names = ["mlruns", "more.bin", "train.py", "written.txt"]
    assert sorted(path.name for path in place.folder.iterdir()) == names


def test_the_outcome_is_said_in_words() -> None:
    difference = Difference("stdout: line 3", None, "only with the agent\n")
    assert list(as_words(Comparison(41, [difference], ["stdout: line 1"], probed=False, runs=0))) == [
        "stdout: line 3",
        "  without the agent: nothing",
        "  with the agent:    'only with the agent\\n'",
        "not compared, for it varies without the agent too: stdout: line 1",
        "not looked into: the process's state (no Python, no PYTHONPATH, or it ended by a signal or os._exit)",
        "no MLflow run of it was found, so the agent had little to do",
        "40 facts are the same, 1 differ (0 MLflow runs)",
    ]


def test_what_varies_by_itself_is_not_held_against_the_agent() -> None:
    """Two runs without the agent tell ids, times and noise from what it changed; a shifted output is not compared."""
    off = {"stdout": {"line 1": "run 1 took 0.5 s", "line 2": "x"}, "file": {"a": "random", "b": "1"}}
    again = {"stdout": {"line 1": "run 2 took 0.7 s", "line 2": "x"}, "file": {"a": "other", "b": "1"}}
    on = {"stdout": {"line 1": "run 3 took 1.5 s", "line 2": "y"}, "file": {"a": "third", "b": "1"}}
    assert compare(off, on, again)[:3] == (3, [Difference("stdout: line 2", "x", "y")], ["file: a"])
    again["stdout"]["line 3"] = "more"
    assert compare(off, on, again)[:3] == (1, [], ["file: a", "stdout"])


def test_names_that_are_new_each_time_are_compared_without_what_is_new() -> None:
    """A file's name with a process's id in it is one fact, and its content is compared."""
    off, on, again = ({"file": {f"log-{pid}.txt": "same", f"log-{pid}-b.txt": "x"}} for pid in (11, 12, 13))
    assert compare(off, on, again)[:3] == (2, [], [])
    on["file"]["log-12-b.txt"] = "y"
    assert compare(off, on, again)[:2] == (2, [Difference("file: log-<n>-b.txt", "x", "y")])
    twice = [{"file": {f"{pid}.txt": "a", f"{pid + 1}.txt": "b"}} for pid in (11, 21, 31)]
    assert compare(twice[0], twice[1], twice[2])[:3] == (2, [], [])


def test_a_line_more_is_one_difference() -> None:
    """What comes behind it is the same, whatever its number."""

    def lines(*texts: str) -> dict[str, dict[str, str]]:
        return {"stderr": {f"line {number}": text for number, text in enumerate(texts, 1)}}

    off, again = (lines("a", f"took {seconds} s", "b", "c") for seconds in (1, 2))
    assert compare(off, lines("a", "took 3 s", "new", "b", "c"), again).differences == [
        Difference("stderr: line 2, 1 after it", None, "new")
    ]
    assert compare(off, lines("a", "took 3 s", "c"), again).differences == [Difference("stderr: line 3", "b", None)]
    assert compare(off, lines("new", "a", "took 3 s", "b", "c"), again).differences == [
        Difference("stderr: the beginning, 1 after it", None, "new")
    ]


def test_json_is_for_checks(place: Place) -> None:
    done = place.command("run", "--json", "--", "python", "train.py")
    assert (done.code, done.stderr.splitlines()[-1]) == (2, "Error: --json belongs to --check")
