"""The Task has the text of the terminal: lines of children and ranks by name, and those of C code if configured."""

from __future__ import annotations

import sys
from collections import Counter

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended
from tests.end_to_end.processes import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children find the run by /proc")

CHILDREN = """
    import multiprocessing, os, subprocess, sys

    def work(method):
        print(method, "child", flush=True)

    if __name__ == "__main__":
        import mlflow  # only here: the spawned children need none
        with mlflow.start_run():
            for method in ("fork", "spawn", "forkserver"):
                child = multiprocessing.get_context(method).Process(target=work, args=[method], name=f"Child-{method}")
                child.start(), child.join()
            print("own line", flush=True)
            subprocess.run([sys.executable, "evaluate.py", "shown"], check=True)
            read = subprocess.run([sys.executable, "evaluate.py", "read"], check=True, stdout=subprocess.PIPE)
            assert b"read by the script" in read.stdout
            child = os.fork()
            if child == 0:
                print("forked with https://user:abcdefghijkl@host/", flush=True)
                os._exit(0)
            os.waitpid(child, 0)
    """


def test_children_of_all_kinds(place: Place, server: ClearMLServer) -> None:
    """A child without MLflow, and one whose output the script reads itself, so that it is not on the terminal."""
    place.write("evaluate.py", "import sys; print(sys.argv[1], 'by the script')")
    off = place.run(CHILDREN, agent=False, fresh=True)
    done = place.run(CHILDREN, fresh=True)
    assert (done.code, done.stdout) == (0, off.stdout)
    assert done.stderr.splitlines() == done.agent_lines
    (run,) = [run for run in place.mlflow_runs() if "clearml.task_id" in run.data.tags]
    task = ended(server, run.info.run_id)

    def printed_lines() -> list[str]:
        """Return the console without the agent's own line, which is there if the run is linked before it ends."""
        lines = server.console(task["id"]).splitlines()
        return [line for line in lines if not line.startswith("autoinstrument: ")]

    lines = wait_for(lambda: len(found := printed_lines()) == 6 and found)
    for method in ("fork", "spawn", "forkserver"):
        assert f"[Child-{method}] {method} child" in lines
    assert "own line" in lines
    (shown,) = [line for line in lines if line.startswith("[evaluate.py ")]
    assert shown.endswith("] shown by the script")
    (secret,) = [line for line in lines if "forked" in line]
    assert secret.endswith("https://user:********@host/")
    wait_for(lambda: not place.left_behind())


RANKS = """
    import os, sys, time
    import mlflow

    rank = int(os.environ["RANK"])
    def line(text):  # in one piece: `print` writes the newline by itself, and the end of rank 0's run ends a half line
        sys.stdout.write(f"{text}\\n")
        sys.stdout.flush()
    line(f"rank {rank} is up")
    if rank == 0:
        with mlflow.start_run():
            line("in the run")
            mlflow.log_metric("loss", 1)
            while not os.path.exists("done"): time.sleep(0.05)
    else:
        while not os.path.exists("done"):
            line(f"rank {rank} works")
            time.sleep(1.1)
            if mlflow.MlflowClient().search_runs(["0"], "attributes.status = 'RUNNING'"):
                line(f"rank {rank} has seen the run")
                time.sleep(1.1)
                line(f"rank {rank} ends")
                os.system("echo from a shell")
                open("done", "w").close()
    """


@pytest.mark.parametrize("console", ["python", "descriptors"])
def test_ranks_that_have_no_run(place: Place, server: ClearMLServer, console: str) -> None:
    """They are not children of the rank that has it, and may have begun before it."""
    environ = {"WORLD_SIZE": "2", "MASTER_PORT": "29517", "AUTOINSTRUMENT_CONSOLE": console}
    ranks = [place.start(RANKS, fresh=True, RANK=str(rank), **environ) for rank in (1, 0)]
    other, first = (rank.finish() for rank in ranks)
    assert (first.code, other.code) == (0, 0), first.stderr + other.stderr
    assert first.stdout == "rank 0 is up\nin the run\n"
    task = ended(server, place.the_run().info.run_id)
    expected = Counter(f"[rank 1] {line}" for line in other.stdout.splitlines())
    if console == "python":
        expected -= Counter(["[rank 1] from a shell"])
    expected += Counter(first.stdout.splitlines())
    wait_for(lambda: Counter(shown(server, task["id"])) == expected or shown(server, task["id"]))
    assert Counter(shown(server, task["id"])) == expected
    wait_for(lambda: not place.left_behind())


def shown(server: ClearMLServer, task_id: str) -> list[str]:
    """Return the lines of a Task's console without those of the agent."""
    return [line for line in server.console(task_id).splitlines() if not line.startswith("autoinstrument:")]


def test_descriptors(place: Place, server: ClearMLServer) -> None:
    """C code, programs, and text that bypasses a replaced `sys.stdout`; the streams have the same bytes."""
    script = r"""
        import ctypes, os, subprocess, sys
        import mlflow

        class Past:
            def write(self, text): os.write(1, text.encode())
            def flush(self): pass

        with mlflow.start_run():
            print("held back")
            ctypes.CDLL(None).puts(b"from C"), ctypes.CDLL(None).fflush(None)
            subprocess.run(["echo", "from a program"])
            os.write(2, b"no text \xff\n")
            sys.stdout = Past()
            print("past sys.stdout")
        """
    off = place.run(script, agent=False, fresh=True)
    done = place.run(script, fresh=True, AUTOINSTRUMENT_CONSOLE="descriptors")
    assert (done.code, done.stdout) == (off.code, off.stdout) == (0, off.stdout)
    assert [line for line in done.stderr.splitlines() if line not in done.agent_lines] == off.stderr.splitlines()
    (run,) = [run for run in place.mlflow_runs() if "clearml.task_id" in run.data.tags]
    task = ended(server, run.info.run_id)
    expected = sorted([*off.stdout.splitlines(), "no text \ufffd"])
    wait_for(lambda: sorted(shown(server, task["id"])) == expected or shown(server, task["id"]))
    assert sorted(shown(server, task["id"])) == expected
    wait_for(lambda: not place.left_behind())


def test_off(place: Place, server: ClearMLServer) -> None:
    script = """
        import mlflow
        with mlflow.start_run():
            print("not shown")
        """
    done = place.run(script, AUTOINSTRUMENT_CONSOLE="off")
    assert (done.code, done.stdout) == (0, "not shown\n")
    task = ended(server, place.the_run().info.run_id)
    assert server.console(task["id"]) == ""
