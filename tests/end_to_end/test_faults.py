"""A table of faults, their moments, and whether they end: training does not notice, and nothing is lost.

The table is gone through twice: with one training process, and with eight that share a worker. Of each some cases run
always, with one process each fault and each moment among them. `--all-faults` runs all of them, and kills 50 times
instead of 3. Cases of one kind share a place and a server: one `sync` and one `verify` at the end are for all.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from mlflow.entities import Run

from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.harness import Place, link_tags, scalars, section, task_of
from tests.end_to_end.processes import Finished, Started, wait_for
from tests.end_to_end.proxy import Proxy
from tests.problems import OF_FAULTS

pytestmark = pytest.mark.may_report(OF_FAULTS)

EXIT_S = 3.0
"""`AUTOINSTRUMENT_EXIT_TIMEOUT`."""
FACTOR, MORE_S = 3.0, 30.0
"""A script may take so much longer than the same one did without the agent: the machine may be busy meanwhile."""
HEALS_S = 2.0

SCRIPT = """
import pathlib, sys, time
import mlflow

def moment(name):
    print(name, flush=True)
    if sys.argv[1] == name:
        pathlib.Path(f"{sys.argv[2]} is there").touch()
        while not pathlib.Path("go").exists():
            time.sleep(0.02)

moment("before")
with mlflow.start_run(run_name=sys.argv[2]):
    mlflow.log_params({"lr": 0.1, "depth": 3})
    for step in range(60):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
        if step == 30:
            moment("middle")
            time.sleep(3 if sys.argv[1] == "middle" else 0)
    mlflow.set_tag("stage", "test")
    mlflow.log_text("hello", "hello.txt")
    moment("end")
moment("exit")
pathlib.Path(f"{sys.argv[2]} has left").write_text(str(time.time()))
sys.exit(3)
"""
OUTPUT = "before\nmiddle\nend\nexit\n"

FAULTS: dict[str, dict[str, Fault | str]] = {
    "slow": {
        "slow 100 ms": Fault(latency=0.1),
        "slow 500 ms": Fault(latency=0.5),
        "slow 10 s": Fault(latency=10.0),
    },
    "errors": {
        "500": Fault(status=500),
        "500 after handling": Fault(status=500, when="after"),
        "503": Fault(status=503),
        "429": Fault(status=429, retry_after=2),
    },
    "no answer": {
        "hangs": Fault(action="hang"),
        "hangs after handling": Fault(action="hang", when="after"),
        "drops": Fault(action="drop"),
        "drops after handling": Fault(action="drop", when="after"),
        "refuses connections": "refuses",
    },
    "not allowed": {"credentials are wrong": "wrong", "credentials are revoked": "revoked"},
    "disk": {"home is a file": "file", "disk is full": "full", "disk is read-only": "read-only"},
}
MOMENTS = ("before", "middle", "end", "exit")
TOGETHER = 8
"""Training processes that share a worker."""


class Case(NamedTuple):
    fault: str
    moment: str
    heals: bool

    def __str__(self) -> str:
        return f"{self.fault}, {self.moment}, {'heals' if self.heals else 'stays'}"


CHOSEN = [
    Case("slow 100 ms", "before", False),
    Case("slow 500 ms", "end", False),
    Case("slow 10 s", "middle", False),
    Case("500", "end", True),
    Case("500 after handling", "before", True),
    Case("503", "middle", True),
    Case("429", "exit", False),
    Case("hangs", "middle", False),
    Case("hangs after handling", "before", False),
    Case("drops", "middle", True),
    Case("drops after handling", "end", True),
    Case("refuses connections", "middle", True),
    Case("refuses connections", "exit", False),
    Case("credentials are wrong", "before", False),
    Case("credentials are revoked", "middle", False),
    Case("home is a file", "before", False),
    Case("disk is full", "middle", False),
    Case("disk is read-only", "end", True),
]
CHOSEN_TOGETHER = [
    Case("slow 500 ms", "end", False),
    Case("503", "middle", True),
    Case("refuses connections", "exit", False),
    Case("credentials are revoked", "middle", False),
    Case("disk is full", "middle", False),
]


def table(kind: str) -> list[Case]:
    """Return all cases of a kind; credentials that are wrong are so from the beginning."""
    cases = itertools.starmap(Case, itertools.product(FAULTS[kind], MOMENTS, (True, False)))
    return [case for case in cases if case.fault != "credentials are wrong" or case == (case.fault, "before", False)]


@pytest.fixture(scope="session")
def all_faults(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--all-faults"))


class Trouble:
    """One fault of the table, to be begun and ended."""

    def __init__(self, fault: Fault | str, place: Place, server: ClearMLServer) -> None:
        self._fault, self._place, self._server = fault, place, server
        self._captures = place.home / "captures"

    @property
    def environ(self) -> dict[str, str]:
        return {"CLEARML_API_SECRET_KEY": "wrong"} if self._fault == "wrong" else {}

    def begin(self) -> None:
        if isinstance(self._fault, Fault):
            self._server.faults.add(self._fault)
        elif self._fault == "refuses":
            self._server.close()
        elif self._fault == "revoked":
            self._server.credentials.revoke(tokens=True)
        elif self._fault == "file":
            self._place.home.mkdir(exist_ok=True)
            wait_for(self._put_in_the_way)
        elif self._fault == "full":
            with contextlib.suppress(OSError), (self._captures / "filler").open("wb") as file:
                while True:
                    file.write(bytes(4096))
                    file.flush()
        elif self._fault == "read-only":
            remount(self._captures, "ro")

    def _put_in_the_way(self) -> bool:
        """Put a file where the folder was; scripts and their worker may be writing to that."""
        shutil.rmtree(self._captures, ignore_errors=True)
        with contextlib.suppress(IsADirectoryError, PermissionError):
            self._captures.write_text("in the way")
        return self._captures.is_file()

    def end(self) -> None:
        self._server.faults.clear()
        if self._fault == "refuses":
            self._server.start()
        self._server.credentials.restore()
        if self._fault == "file":
            self._captures.unlink(missing_ok=True)
        elif self._fault == "full":
            (self._captures / "filler").unlink(missing_ok=True)
        elif self._fault == "read-only":
            remount(self._captures, "rw")


def remount(folder: Path, mode: str) -> None:
    """Make a file system read-only or writable; it must wait until no file is open for writing."""
    command = ["mount", "-o", f"remount,{mode}", str(folder)]
    wait_for(lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0)


def mount(captures: Path, processes: int) -> list[str]:
    """Return the command that mounts a file system of 256 KiB for each training process."""
    return ["mount", "-t", "tmpfs", "-o", f"size={256 * processes}k,mode=700", "tmpfs", str(captures)]


@pytest.fixture
def small_disk(own_place: Place, kind: str, processes: int) -> Iterator[bool]:
    """`captures` on a separate small file system, for faults of the disk; False where there is none."""
    if kind != "disk":  # it holds a handful of runs that wait for `sync`
        yield False
        return
    captures = own_place.home / "captures"
    captures.mkdir(parents=True, mode=0o700)
    try:
        mounted = subprocess.run(mount(captures, processes), capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    yield mounted
    if mounted:
        subprocess.run(["umount", "-l", str(captures)], check=False)


class Plain(NamedTuple):
    """Scripts without the agent: the one that took longest, and the longest time that an interpreter took to end."""

    done: Finished
    exit_s: float


@pytest.fixture(scope="module")
def plain(new_place: Callable[[ClearMLServer | None], Place], processes: int) -> Plain:
    """The second time: files are in memory then."""
    place = new_place(None)
    for _ in range(2):
        names = [f"plain {number}" for number in range(processes)]
        started = [place.start(SCRIPT, "", name, agent=False) for name in names]
        ended = [(each.finish(), exit_seconds(place, name)) for each, name in zip(started, names, strict=True)]
    for done, _ in ended:
        assert (done.code, done.stdout) == (3, OUTPUT)
    return Plain(max((done for done, _ in ended), key=lambda done: done.seconds), max(exit_s for _, exit_s in ended))


def exit_seconds(place: Place, name: str) -> float:
    """Return how long a script went on after its last line, 0 if it died before; call it as soon as it has ended."""
    last = place.folder / f"{name} has left"
    return time.time() - float(last.read_text()) if last.exists() else 0.0


class Disturbed(NamedTuple):
    """One script that has ended, and how long that took after its last line."""

    name: str
    done: Finished
    exit_s: float


def disturbed(
    place: Place, case: Case, begin: Callable[[], None], end: Callable[[], None], names: list[str], **more: str
) -> list[Disturbed]:
    """Run scripts with trouble from a moment on; the time that they wait there for the trouble does not count."""
    (place.folder / "go").unlink(missing_ok=True)
    more = {"AUTOINSTRUMENT_EXIT_TIMEOUT": str(EXIT_S), **more}
    started = [place.start(SCRIPT, case.moment, name, **more) for name in names]
    wait_for(lambda: all((place.folder / f"{name} is there").exists() for name in names))
    since = time.monotonic()
    if case.moment == "middle" and more.get("AUTOINSTRUMENT_ENABLED") != "":
        with contextlib.suppress(AssertionError):
            wait_for(lambda: all("task_id" in link_tags(place.run_named(name)) for name in names), 10)
    begin()
    held_s = time.monotonic() - since
    (place.folder / "go").touch()
    if case.heals:
        time.sleep(HEALS_S)
        end()
    ended = []
    for name, each in zip(names, started, strict=True):
        done = each.finish()
        ended.append(Disturbed(name, done._replace(seconds=done.seconds - held_s), exit_seconds(place, name)))
    return ended


def noticed(place: Place, case: Case, script: Disturbed, plain: Plain) -> list[str]:
    """Return each difference from the run without the agent; there must be none."""
    name, done, exit_s = script
    limit_s = FACTOR * (plain.done.seconds + 3) + EXIT_S + MORE_S
    exit_limit_s = FACTOR * plain.exit_s + EXIT_S + MORE_S
    print(f"{name}: {done.seconds:.1f} s ({plain.done.seconds:.1f} without), exit {exit_s:.1f} s ({plain.exit_s:.1f})")
    run = place.run_named(name)
    steps = [metric.step for metric in place.client.get_metric_history(run.info.run_id, "loss")]
    # The Task's address, the problem, and the address again where the server answers in the end.
    lines = 3 if case.heals or case.fault.startswith("slow") else 2
    wrong = {
        f"exit code {done.code}": done.code != plain.done.code,
        f"output {done.stdout!r}": done.stdout != plain.done.stdout,
        f"printed {done.stderr!r}": "Traceback" in done.stderr
        or len(set(done.agent_lines)) > 2
        or len(done.agent_lines) > lines,
        f"MLflow's status {run.info.status}": run.info.status != "FINISHED",
        f"MLflow's params {run.data.params}": run.data.params != {"lr": "0.1", "depth": "3"},
        f"MLflow's steps {steps}": steps != list(range(60)),
        f"{done.seconds:.1f} s, limit {limit_s:.1f}": done.seconds > limit_s,
        f"exit {exit_s:.1f} s, limit {exit_limit_s:.1f}": exit_s > exit_limit_s,
    }
    return [f"{name}: {what}" for what, is_so in wrong.items() if is_so]


def assert_complete(place: Place, server: ClearMLServer, runs: list[Run], *, sync: tuple[str, ...] = ("sync",)) -> None:
    """After `sync`, if needed, each run's one Task equals MLflow's data: by `verify`, and by the test's own look."""
    wait_for(lambda: not place.workers())
    runs = [place.mlflow_run(run.info.run_id) for run in runs]
    pending = [run.info.run_name for run in runs if link_tags(run).get("state") != "synced"]
    print(f"{len(pending)} of {len(runs)} runs are left to sync")
    if pending:
        synced = place.command(*sync)
        assert synced.code == 0, synced.stdout + synced.stderr
    verified = place.command("verify", *[run.info.run_id for run in runs])
    assert verified.code == 0, verified.stdout + verified.stderr
    assert f"{len(runs)} the same, 0 different" in verified.stdout
    for run in runs:
        run = place.mlflow_run(run.info.run_id)
        task = task_of(server, run.info.run_id)
        assert scalars(server, task["id"]) == place.points(run.info.run_id)
        assert section(task, "MLflow") == dict(run.data.params)
        assert link_tags(run)["task_id"] == task["id"]
        assert link_tags(run)["state"] == "synced"


@pytest.mark.timeout(6000)
@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("processes", [1, TOGETHER], scope="module")
def test_training_does_not_notice_and_nothing_is_lost(
    own_place: Place,
    own_server: ClearMLServer,
    small_disk: bool,
    plain: Plain,
    all_faults: bool,
    kind: str,
    processes: int,
) -> None:
    """Exit code, output and MLflow's data are those of the run without the agent; `sync` does the rest."""
    place, wrong, skipped = own_place, list[str](), list[str]()
    chosen = CHOSEN if processes == 1 else CHOSEN_TOGETHER
    cases = table(kind) if all_faults else [case for case in chosen if case.fault in FAULTS[kind]]
    runs = []
    for case in cases:
        trouble = Trouble(FAULTS[kind][case.fault], place, own_server)
        if not small_disk and case.fault.startswith("disk"):
            skipped.append(str(case))
            continue
        if case.fault == "home is a file" and small_disk:
            subprocess.run(["umount", "-l", str(place.home / "captures")], check=True)
        names = [f"{case}, {number}" for number in range(processes)]
        for script in disturbed(place, case, trouble.begin, trouble.end, names, **trouble.environ):
            wrong += noticed(place, case, script, plain)
            runs.append(place.run_named(script.name))
        if not case.heals:
            trouble.end()
        if case.fault == "home is a file" and small_disk:
            wait_for(lambda: not place.workers())
            (place.home / "captures").mkdir(exist_ok=True)
            subprocess.run(mount(place.home / "captures", processes), check=True)
    assert wrong == []
    assert_complete(place, own_server, runs)
    if skipped:
        pytest.skip(f"no file system can be mounted here, which leaves out: {'; '.join(skipped)}")


def own_lines(done: Finished) -> list[str]:
    """Return what the script printed itself: MLflow prints addresses of runs, which differ."""
    return [line for line in done.stdout.splitlines() if line in OUTPUT.split()]


@pytest.mark.timeout(3000)
def test_mlflow_is_down(own_place: Place, own_server: ClearMLServer, mlflow_server: str, all_faults: bool) -> None:
    """The script ends as it does without the agent, whether or not MLflow comes back before its client gives up."""
    cases = [Case("MLflow is down", moment, heals) for moment in MOMENTS for heals in (True, False)]
    if not all_faults:
        cases = [Case("MLflow is down", "middle", True), Case("MLflow is down", "end", False)]
    place, wrong, runs = own_place, list[str](), list[Run]()
    with Proxy(mlflow_server) as proxy:
        place.uri = proxy.url
        for case in cases:
            more = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "6" if case.heals else "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
            done = {}
            for agent in (False, True):
                place.environ = {**more, "MLFLOW_EXPERIMENT_NAME": f"{place.root.name} {agent}"}
                names, switch = [f"{case} {agent}"], "1" if agent else ""
                ((_, done[agent], _),) = disturbed(
                    place, case, proxy.close, proxy.start, names, AUTOINSTRUMENT_ENABLED=switch
                )
                proxy.start()
            print(f"{case}: {done[True].seconds:.1f} s ({done[False].seconds:.1f} without)")
            if (done[True].code, own_lines(done[True])) != (done[False].code, own_lines(done[False])):
                wrong.append(f"{case}: {done[True]} instead of {done[False]}")
            if done[True].seconds > FACTOR * done[False].seconds + EXIT_S + MORE_S:
                wrong.append(f"{case}: {done[True].seconds:.1f} s, without the agent {done[False].seconds:.1f} s")
        assert wrong == []
        names = {str(case) for case in cases}  # the server has other tests' runs too
        runs = [run for run in place.mlflow_runs() if run.info.run_name.removesuffix(" True") in names]
        wait_for(lambda: not place.workers())
        synced = place.command("sync")
        assert synced.code == 0, synced.stdout + synced.stderr
        assert_complete(place, own_server, runs)


TRAINING = """
import pathlib, sys, mlflow
with mlflow.start_run(run_name=sys.argv[1]):
    mlflow.log_param("lr", 0.1)
    pathlib.Path("ready").touch()
    for step in range(100_000):
        mlflow.log_metric("loss", step, step=step)
        print("step", step, flush=True)
"""


@pytest.mark.timeout(6000)
@pytest.mark.parametrize("victim", ["training", "worker", "both"])
def test_killed_at_random_moments(own_place: Place, own_server: ClearMLServer, victim: str, all_faults: bool) -> None:
    """SIGKILL of the training process, of its worker, of both: after `sync` each Task equals MLflow's data."""
    place, runs, interrupted = own_place, [], {}
    for number in range(50 if all_faults else 3):
        moment_s = random.Random(f"{victim} {number}").uniform(0, 3)  # the same ones each time
        (place.folder / "ready").unlink(missing_ok=True)
        name = f"{victim} {number}"
        started = place.start(TRAINING, name)
        wait_for((place.folder / "ready").exists)
        if victim == "both":  # what is not recorded yet, some milliseconds after it began, leaves no trace
            folder = place.run_named(name).info.run_id
            wait_for(lambda folder=folder: folder in [journal.name for journal in place.journals()])
        time.sleep(moment_s)
        if victim != "training":
            place.kill_workers()
        if victim == "worker":
            time.sleep(1)
            started.kill(signal.SIGINT)
        else:
            started.kill(signal.SIGKILL)
        done = started.finish()
        runs.append(place.run_named(name))
        # Within a call of SQLAlchemy's a Ctrl-C may become another exception, of which the script dies.
        last = [line for line in done.stderr.splitlines() if line not in done.agent_lines][-1:]
        interrupted[name] = victim != "worker" or last == ["KeyboardInterrupt"]
        print(f"{name}: after {moment_s:.2f} s, {runs[-1].data.metrics.get('loss', -1) + 1:.0f} points")
        if victim == "training":
            wait_for(lambda: not place.workers())
    assert_complete(place, own_server, runs)
    for run in runs:
        task = task_of(own_server, run.info.run_id)
        expected = "stopped" if interrupted[run.info.run_name] else "failed"
        assert task["status"] == expected, task["status_reason"]


BESIDE_OTHERS = """
import pathlib, sys, time, mlflow
with mlflow.start_run(run_name=sys.argv[1]):
    mlflow.log_param("lr", 0.1)
    step = 0
    while not pathlib.Path("end").exists():
        mlflow.log_metric("loss", step, step=step)
        print("step", step, flush=True)
        step += 1
        time.sleep(0.2)
"""


def are_recorded(place: Place, started: list[Started]) -> bool:
    """Return True if the runs of all scripts are on disk, and only those."""
    for script in started:
        assert script.process.poll() is None, script.finish()
    return len(place.journals()) == len(started)


@pytest.mark.timeout(6000)
def test_a_shared_worker_is_killed_at_random_moments(
    own_place: Place, own_server: ClearMLServer, all_faults: bool
) -> None:
    """SIGKILL of the worker of eight training processes: they go on with another one, and each Task is complete."""
    place, runs = own_place, []
    for number in range(50 if all_faults else 2):
        moment_s = random.Random(f"shared {number}").uniform(0, 3)  # the same ones each time
        (place.folder / "end").unlink(missing_ok=True)
        names = [f"{number} {letter}" for letter in "abcdefgh"]
        started = [place.start(BESIDE_OTHERS, name, AUTOINSTRUMENT_WORKER_LINGER="1") for name in names]
        wait_for(lambda started=started: are_recorded(place, started))
        time.sleep(moment_s)
        place.kill_workers()
        time.sleep(1)
        (place.folder / "end").touch()
        for each in started:
            done = each.finish()
            assert done.code == 0, done.stderr
        runs += [place.run_named(name) for name in names]
        wait_for(lambda: not place.workers())
        if place.journals():  # left to `sync`, which must not be counted with the next ones
            assert place.command("sync").code == 0
    assert_complete(place, own_server, runs)
