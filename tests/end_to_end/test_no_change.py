"""The no-change proof: scripts of all kinds, run without the agent and with it, by `run --check` as users have it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from autoinstrument.check.comparison import ChangedFact, CheckReport, compare
from autoinstrument.check.facts import GROUPS, Facts, Looked, look
from autoinstrument.check.probe import LOOKS
from autoinstrument.check.words import as_words
from autoinstrument.mirror.kinds import KINDS
from autoinstrument.mlflow_store.run_reader import open_run
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
"""MLflow's telemetry draws random numbers on its own thread, at any time."""


def checked(place: Place, *command: str) -> dict[str, Any]:
    done = place.command("run", "--check", "--json", "--", "python", *command, **QUIET)
    assert done.stderr == ""
    outcome: dict[str, Any] = json.loads(done.stdout)
    assert done.code == (1 if outcome["differences"] else 0)
    return outcome


def looked(place: Place, monkeypatch: Any, *command: str) -> tuple[Looked, Looked]:
    """Look at a script that does the same each time, so that the third run is not needed."""
    monkeypatch.chdir(place.folder)
    environ = place.environment(agent=False, AUTOINSTRUMENT_HOME=str(place.home), **QUIET)
    off, on = (look([place.python, *command], environ, agent=agent, tracking_uri=place.uri) for agent in (False, True))
    return off, on


@pytest.mark.slow
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


@pytest.mark.slow
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
    """Exit code or signal, traceback, exit handlers, and the data that is left in MLflow."""
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


def test_the_check_finds_each_change_that_an_agent_could_make(place: Place) -> None:
    """A script that makes these changes itself if the switch is on stands in for an agent that makes them."""
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


EACH_KIND = """
import os, random, signal, subprocess, sys, threading, time, warnings
import mlflow, numpy

on = bool(os.environ.get("AUTOINSTRUMENT_ENABLED"))
new = "other" if on else "as ever"
random.seed(1)
mlflow.set_experiment(f"experiment {new}")
with mlflow.start_run(run_name="parent") as parent:
    pass
client = mlflow.MlflowClient()
read = mlflow.initialize_logged_model(name=f"read-{on}")
prompt = f"prompts:/greeting-{on}/1"
if mlflow.genai.load_prompt(prompt, allow_missing=True) is None:
    mlflow.genai.register_prompt(f"greeting-{on}", template="Hello {{name}}")
with mlflow.start_run(run_name=f"run {new}", tags={"mlflow.parentRunId": parent.info.run_id} if on else {}):
    mlflow.log_param("lr", new)
    mlflow.set_tag("team", new)
    for step in range(3):
        mlflow.log_metric("loss", 2.0 if on and step == 1 else 1.0, step=step)
    mlflow.log_text(new, "notes.txt")
    history = '[{"artifact_path": "model", "flavors": {"%s": {}}}]' % new
    mlflow.set_tag("mlflow.log-model.history", history)
    mlflow.genai.load_prompt(prompt)
    client.log_inputs(mlflow.active_run().info.run_id, models=[mlflow.entities.LoggedModelInput(read.model_id)])
    mlflow.log_input(mlflow.data.from_numpy(numpy.ones(3 + on), name="points"), context="training")
    for _ in range(1 + 2 * on):  # the first has the id of one of the other run, because of the seed: 3.18 drops it
        with mlflow.start_span("a call"):
            pass
    mlflow.end_run("FAILED" if on else "FINISHED")
if hasattr(mlflow, "flush_trace_async_logging"):
    mlflow.flush_trace_async_logging()
print("printed", new)
print("written", new, file=sys.stderr)
open("written.txt", "w").write(new)
if on:
    with mlflow.start_run(run_name="one more"):
        pass
    os.remove("old.txt")
    random.random()
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    sys.excepthook = lambda *error: None
    sys.stdin = open(os.devnull)
    warnings.simplefilter("ignore", ResourceWarning)
    os.environ["MORE"] = "1"
    sys.path.append("/more")
    threading.Thread(target=time.sleep, args=(600,), daemon=True, name="more").start()
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)  # ends with this process
    sys.exit(5)
"""


@pytest.mark.slow
def test_a_difference_of_each_kind_is_named(place: Place, monkeypatch: Any) -> None:
    """The kinds are taken from the code: one that is added there without a planted difference fails here."""
    place.write("train.py", EACH_KIND)
    place.write("old.txt", "old")
    monkeypatch.chdir(place.folder)
    environ = place.environment(agent=False, AUTOINSTRUMENT_HOME=str(place.home), **QUIET)

    def looked() -> Iterator[Looked]:
        for agent in (False, True, False):
            (place.folder / "old.txt").touch()
            yield look([place.python, "train.py"], environ, agent=agent, tracking_uri=place.uri)

    off, on, again = looked()
    found = {difference.what for difference in compare(off.facts, on.facts, again.facts).differences}

    assert {what for what in GROUPS if not any(name.startswith(f"{what}: ") for name in found)} == set()
    assert {what for what in LOOKS if not any(name.startswith(f"state: {what}") for name in found)} == set()
    names = {name for facts in (off.facts, on.facts) for name in facts["MLflow run 2"]}
    words = [kind.name for kind in KINDS if " " in kind.name]
    kinds = {next((word for word in words if name.startswith(word)), name.partition(" ")[0]) for name in names}
    kinds = kinds - {"artifact"} | {"artifact notes.txt"}
    without_facts = {
        "link", "environment", "console", "machine", "monitor", "ClearML tag", "project", "scheduler's job",
    }  # fmt: skip
    assert {kind.name for kind in KINDS} - without_facts <= kinds | {"artifact"}
    assert {"experiment", "parent"} <= kinds
    assert {kind for kind in kinds if not any(name.startswith(f"MLflow run 2: {kind}") for name in found)} == set()

    run_id = place.run_named("run other").info.run_id
    run = open_run(place.uri, run_id)
    unseen = [kind.name for kind in KINDS if list(kind.read(run)) and not list(kind.facts(run.stored, kind.read(run)))]
    assert unseen == ["ClearML tag"], "data that MLflow holds has facts; those tags are made of such data"


def test_a_store_that_cannot_be_read_is_a_problem(place: Place, monkeypatch: Any) -> None:
    """It is not taken for a command without runs."""
    place.write("train.py", "print('as ever')")
    done = place.command(
        "run", "--check", "--", "python", "train.py", MLFLOW_TRACKING_URI="http://me:sesame@127.0.0.1:9"
    )
    assert done.code == 1
    assert "not compared, because the store cannot be read: MLflow's runs (MLflow: " in done.stdout
    assert "sesame" not in done.stdout + done.stderr


def test_the_outcome_in_words() -> None:
    difference = ChangedFact("stdout: line 3", None, "only with the agent\n")
    assert list(as_words(CheckReport(41, [difference], ["stdout: line 1"], probed=False, runs=0))) == [
        "stdout: line 3",
        "  without the agent: nothing",
        "  with the agent:    'only with the agent\\n'",
        "not compared, for it varies without the agent too: stdout: line 1",
        "not looked into: the process's state (no Python, no PYTHONPATH, or it ended by a signal or os._exit)",
        "no MLflow run of it was found, so the agent had little to do",
        "40 facts are the same, 1 differ (0 MLflow runs)",
    ]


def test_values_that_vary_without_the_agent_are_not_differences() -> None:
    """Two runs without the agent distinguish ids, times and noise from its changes."""
    off = {"stdout": {"line 1": "run 1 took 0.5 s", "line 2": "x"}, "file": {"a": "random", "b": "1"}}
    again = {"stdout": {"line 1": "run 2 took 0.7 s", "line 2": "x"}, "file": {"a": "other", "b": "1"}}
    on = {"stdout": {"line 1": "run 3 took 1.5 s", "line 2": "y"}, "file": {"a": "third", "b": "1"}}
    assert compare(off, on, again)[:3] == (3, [ChangedFact("stdout: line 2", "x", "y")], ["file: a"])


def test_names_are_compared_without_ids_and_times() -> None:
    """A file's name with a process's id in it is one fact, and its content is compared."""
    off, on, again = ({"file": {f"log-{pid}.txt": "same", f"log-{pid}-b.txt": "x"}} for pid in (11, 12, 13))
    assert compare(off, on, again)[:3] == (2, [], [])
    on["file"]["log-12-b.txt"] = "y"
    assert compare(off, on, again)[:2] == (2, [ChangedFact("file: log-<n>-b.txt", "x", "y")])
    twice = [{"file": {f"{pid}.txt": "a", f"{pid + 1}.txt": "b"}} for pid in (11, 21, 31)]
    assert compare(twice[0], twice[1], twice[2])[:3] == (2, [], [])


def test_an_additional_line_is_one_difference() -> None:
    """The lines after it are the same, whatever their numbers."""

    off, again = (lines("a", f"took {seconds} s", "b", "c") for seconds in (1, 2))
    assert compare(off, lines("a", "took 3 s", "new", "b", "c"), again).differences == [
        ChangedFact("stderr: line 2, 1 after it", None, "new")
    ]
    assert compare(off, lines("a", "took 3 s", "c"), again).differences == [ChangedFact("stderr: line 3", "b", None)]
    assert compare(off, lines("new", "a", "took 3 s", "b", "c"), again).differences == [
        ChangedFact("stderr: the beginning, 1 after it", None, "new")
    ]


def lines(*texts: str) -> Facts:
    return {"stderr": {f"line {number}": text for number, text in enumerate(texts, 1)}}


def bar(updates: int) -> list[str]:
    return [f" {n * 100 // updates:3}%|{'#' * n:<20}| {n}/20 [00:00<00:00, {n * 7.3:.2f}it/s]" for n in range(updates)]


def test_only_the_lines_that_vary_are_left_out() -> None:
    """A progress bar writes another number of lines each time; lines before, beside and after it are compared."""
    runs = [["begin", *bar(updates), "end", "last"] for updates in (5, 9, 7)]
    off, on, again = runs
    outcome = compare(lines(*off), lines(*on), lines(*again))
    assert (outcome.differences, outcome.compared >= 3) == ([], True)
    assert outcome.varying
    fewer = ["begin", *bar(3), "end", "last"]
    assert compare(lines(*off), lines(*fewer), lines(*again)).differences == []
    planted = [*on[:4], "Traceback (most recent call last):", *on[4:-1], "otherwise"]
    outcome = compare(lines(*off), lines(*planted), lines(*again))
    assert [(difference.off, difference.on) for difference in outcome.differences] == [
        (None, "Traceback (most recent call last):"), ("last", "otherwise")
    ]  # fmt: skip


def test_noise_excuses_as_much_noise_and_no_more() -> None:
    """One line of no known form in the place of another one is noise; a second one is a difference."""
    off, again = lines("a", "qwertz", "b"), lines("a", "0uiop", "b")
    assert compare(off, lines("a", "yxcvbn", "b"), again)[:3] == (2, [], ["stderr: line 2"])
    (difference,) = compare(off, lines("a", "yxcvbn", "asdf", "b"), again).differences
    assert (difference.off, difference.on) == (None, "asdf")


def test_lines_whose_order_varies_are_compared_without_their_order() -> None:
    """Threads write in any order, but their lines count."""
    off, again = lines("x", "y", "z", "end"), lines("y", "x", "z", "end")
    assert compare(off, lines("x", "z", "y", "end"), again).differences == []
    (difference,) = compare(off, lines("x", "z", "y", "more", "end"), again).differences
    assert (difference.off, difference.on) == (None, "more")
    (difference,) = compare(lines("x", "y"), lines("y", "x"), lines("x", "y")).differences[:1]
    assert difference.what == "stderr: the beginning, 1 after it", "where it does not vary, the order counts"


def test_a_long_output_is_compared_in_time() -> None:
    """All lines are alike but for their numbers: no work that grows with their square."""
    runs = [[f"2026-01-01 10:00:{n % 60:02} epoch {n} of {run}" for n in range(50_000 + run)] for run in range(3)]
    runs[1].insert(20_000, "only with the agent")
    assert [d.on for d in compare(*(lines(*run) for run in runs)).differences] == ["only with the agent"]


def test_json_is_for_checks(place: Place) -> None:
    done = place.command("run", "--json", "--", "python", "train.py")
    assert (done.code, done.stderr.splitlines()[-1]) == (2, "Error: `--json` can be used with `--check` only")
