"""Several processes that log to one run: one Task, each process's data in it once, and the run's own end."""

from __future__ import annotations

import pytest

from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.harness import Place, ended, events_taken, link_tags, scalars, section, task_of
from tests.end_to_end.processes import wait_for


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_child_processes_that_print_and_log_do_not_hang(place: Place, server: ClearMLServer, method: str) -> None:
    """A pool whose children log to the parent's run: all of their points are in its Task."""
    script = f"""
        import multiprocessing
        import mlflow
        from mlflow.tracking import MlflowClient

        def work(job):
            run_id, number = job
            print("child", number, flush=True)
            for step in range(20):
                MlflowClient().log_metric(run_id, f"child{{number}}", step, step=step)
            return number

        if __name__ == "__main__":
            context = multiprocessing.get_context("{method}")
            with mlflow.start_run() as run:
                mlflow.log_metric("loss", 1.0)
                with context.Pool(2) as pool:
                    print(sorted(pool.map(work, [(run.info.run_id, 0), (run.info.run_id, 1)])))
                mlflow.log_metric("loss", 2.0, step=1)
        """
    done = place.run(script)
    assert done.code == 0, done.stderr
    assert "[0, 1]" in done.stdout
    run = place.the_run()
    task = ended(server, run.info.run_id)
    assert task["status"] == "completed"
    wait_for(lambda: scalars(server, task["id"]) == place.points(run.info.run_id))
    assert events_taken(task_of(server, run.info.run_id)) == len(place.points(run.info.run_id)) == 42
    assert link_tags(run)["state"] == "synced"
    wait_for(lambda: not place.left_behind())


def test_a_fork_by_hand_changes_nothing_for_the_parent(place: Place, server: ClearMLServer) -> None:
    """The child's end, by whatever way, is not the run's end."""
    script = """
        import os, sys, time
        import mlflow
        mlflow.start_run()
        mlflow.log_metric("loss", 1.0)
        for end in ("os._exit(3)", "sys.exit(4)"):
            child = os.fork()
            if child == 0:
                print("in the child", flush=True)
                mlflow.active_run()
                import atexit
                atexit.unregister(mlflow.tracking.fluent._safe_end_run)
                exec(end)
            os.waitpid(child, 0)
        time.sleep(1)
        mlflow.log_metric("loss", 2.0, step=1)
        mlflow.end_run()
        print("parent ends")
        """
    done = place.run(script)
    assert done.code == 0, done.stderr
    assert done.stdout == "in the child\nin the child\nparent ends\n"
    run = place.the_run()
    task = ended(server, run.info.run_id)
    assert task["status"] == "completed"
    assert scalars(server, task["id"]) == place.points(run.info.run_id)
    assert len(scalars(server, task["id"])) == 2


def test_a_sub_process_that_goes_on_with_the_run_uses_its_task(place: Place, server: ClearMLServer) -> None:
    """MLFLOW_RUN_ID hands the run over, as `mlflow run` and launchers do; there is one Task."""
    place.write("child.py", "import mlflow\nwith mlflow.start_run():\n    mlflow.log_metric('inner', 3.0)\n")
    script = """
        import os, subprocess, sys, time
        import mlflow
        run = mlflow.start_run()
        mlflow.log_metric("outer", 1.0)
        time.sleep(1)
        subprocess.run([sys.executable, "child.py"], check=True, env={**os.environ, "MLFLOW_RUN_ID": run.info.run_id})
        mlflow.log_metric("outer", 2.0, step=1)
        mlflow.end_run()
        """
    done = place.run(script)
    assert done.code == 0, done.stderr
    run = place.the_run()
    task = ended(server, run.info.run_id)
    wait_for(lambda: scalars(server, task["id"]) == place.points(run.info.run_id))
    assert ended(server, run.info.run_id)["status"] == "completed"


def test_workers_of_joblib_log_to_the_run(place: Place, server: ClearMLServer) -> None:
    """loky's processes are neither forked nor spawned by multiprocessing, and are killed in the end."""
    script = """
        import mlflow
        from joblib import Parallel, delayed

        def work(run_id, number):
            client = mlflow.MlflowClient()
            for step in range(20):
                client.log_metric(run_id, f"child/{number}", step, step=step)
            client.log_param(run_id, f"param {number}", number)
            mlflow.log_param  # can be sent to another process
            return number

        with mlflow.start_run() as run:
            print(Parallel(n_jobs=2)(delayed(work)(run.info.run_id, number) for number in range(4)))
            mlflow.log_metric("loss", 1.0)
        """
    done = place.run(script)
    assert done.code == 0, done.stderr
    assert done.stdout == "[0, 1, 2, 3]\n"
    run = place.the_run()
    task = ended(server, run.info.run_id)
    wait_for(lambda: scalars(server, task["id"]) == place.points(run.info.run_id))
    assert events_taken(task_of(server, run.info.run_id)) == len(place.points(run.info.run_id)) == 81
    assert section(task_of(server, run.info.run_id), "MLflow") == run.data.params
    assert len(done.agent_lines) <= 2, done.stderr
    wait_for(lambda: not place.left_behind())


def test_a_run_of_a_joblib_worker_has_the_scripts_arguments(place: Place, server: ClearMLServer) -> None:
    """loky's processes have a command line of their own, which argparse reads."""
    script = """
        import argparse
        import mlflow
        from joblib import Parallel, delayed

        def work():
            with mlflow.start_run(run_name="inner"):
                mlflow.log_metric("loss", 1.0)

        parser = argparse.ArgumentParser()
        parser.add_argument("--lr")
        parser.parse_args()
        Parallel(n_jobs=2)(delayed(work)() for _ in range(1))
        """
    done = place.run(script, "--lr", "0.5")
    assert done.code == 0, done.stderr
    assert section(ended(server, place.the_run().info.run_id), "Args") == {"argv": "--lr 0.5"}


def test_a_child_without_a_shared_worker_finds_the_task(place: Place, server: ClearMLServer) -> None:
    """On another machine there is no worker to join: the Task is found through the run, and its end is not touched."""
    place.write(
        "rank.py",
        """
        import sys
        from mlflow import MlflowClient
        client = MlflowClient()
        for step in range(100):
            client.log_metric(sys.argv[1], f"rank/{sys.argv[2]}", step, step=step)
        client.set_tag(sys.argv[1], f"rank {sys.argv[2]}", "was here")
        """,
    )
    (place.temporary / "elsewhere").mkdir()
    script = """
        import os, pathlib, subprocess, sys, time
        import mlflow
        with mlflow.start_run() as run:
            elsewhere = {**os.environ, "TMPDIR": os.environ["TMPDIR"] + "/elsewhere"}
            ranks = [
                subprocess.Popen([sys.executable, "rank.py", run.info.run_id, str(rank)], env=elsewhere)
                for rank in range(2)
            ]
            for rank in ranks:
                assert rank.wait() == 0
            mlflow.log_metric("loss", 1.0)
        """
    done = place.run(script)
    assert done.code == 0, done.stderr
    run = place.the_run()
    task = ended(server, run.info.run_id)
    assert task["status"] == "completed"
    wait_for(lambda: scalars(server, task["id"]) == place.points(run.info.run_id))
    assert len(place.points(run.info.run_id)) == 201
    assert section(task_of(server, run.info.run_id), "MLflow tags")["rank 1"] == "was here"
    assert len(done.agent_lines) <= 2, done.stderr
    (place.temporary / "elsewhere").rmdir()


def test_a_child_script_with_a_run_of_its_own_gets_a_task_of_its_own(place: Place, server: ClearMLServer) -> None:
    place.write(
        "child.py",
        """
        import sys
        import mlflow
        with mlflow.start_run(run_name="child", parent_run_id=sys.argv[1]):
            mlflow.log_metric("inner", 1.0)
            print("the child's text")
        """,
    )
    script = """
        import subprocess, sys
        import mlflow
        with mlflow.start_run(run_name="parent") as run:
            subprocess.run([sys.executable, "child.py", run.info.run_id], check=True)
            mlflow.log_metric("outer", 1.0)
        """
    done = place.run(script)
    assert done.code == 0, done.stderr
    tasks = {}
    for name in ("parent", "child"):
        run = place.run_named(name)
        tasks[name] = ended(server, run.info.run_id)
        assert tasks[name]["status"] == "completed"
        assert scalars(server, tasks[name]["id"]) == place.points(run.info.run_id)
    parent_id = place.run_named("parent").info.run_id
    assert [tasks[name]["script"]["entry_point"] for name in tasks] == ["train.py", f"child.py {parent_id}"]
    assert "the child's text" in server.console(tasks["child"]["id"])
    assert "the child's text" not in server.console(tasks["parent"]["id"])
    assert tasks["child"]["parent"] == tasks["parent"]["id"]
    with server.state.lock:
        del server.state.tasks[tasks["child"]["id"]]["parent"]
    child = place.run_named("child").info.run_id
    assert "it has no parent" in place.command("verify", child).stdout
    assert place.command("sync", "--full", "--run", child).code == 0
    assert task_of(server, child)["parent"] == tasks["parent"]["id"]
    assert place.command("verify", child).code == 0


def test_a_parent_whose_task_is_made_later_is_found_at_the_end(own_place: Place, own_server: ClearMLServer) -> None:
    """ClearML takes the outer run's Task only when another process's run below it is under way."""
    own_place.write(
        "inner.py",
        """
        import pathlib, sys, time
        import mlflow
        with mlflow.start_run(run_name="inner", parent_run_id=sys.argv[1]):
            while not pathlib.Path("go").exists():
                time.sleep(0.05)
        """,
    )
    script = """
        import subprocess, sys
        import mlflow
        with mlflow.start_run(run_name="outer") as run:
            subprocess.run([sys.executable, "inner.py", run.info.run_id], check=True)
        """
    refused = own_server.faults.add(Fault("tasks.create", status=503, containing='"outer"'))
    started = own_place.start(script)
    (inner,) = wait_for(lambda: [task for task in own_server.tasks if task["status"] == "in_progress"])
    assert (inner["name"], inner.get("parent")) == ("inner", None)
    own_server.faults.remove(refused)
    outer = wait_for(lambda: [task for task in own_server.tasks if task["name"] == "outer"])[0]
    (own_place.folder / "go").touch()
    done = started.finish()
    assert done.code == 0, done.stderr
    assert ended(own_server, own_place.run_named("inner").info.run_id)["parent"] == outer["id"]


def test_living_children_do_not_hide_the_parents_death(place: Place, server: ClearMLServer) -> None:
    """Data loaders outlive a killed training process for a while; the Task must not wait for them."""
    script = """
        import os, pathlib, time
        import mlflow
        run = mlflow.start_run()
        mlflow.log_metric("loss", 1.0)
        time.sleep(0.5)
        for number in range(2):
            if os.fork() == 0:
                mlflow.MlflowClient().log_metric(run.info.run_id, f"child {number}", 1.0) if number else None
                pathlib.Path(f"ready{number}").write_text("now")
                while pathlib.Path("ready0").exists():
                    time.sleep(0.1)
                os._exit(0)
        time.sleep(600)
        """
    started = place.start(script)
    wait_for(lambda: (place.folder / "ready0").exists() and (place.folder / "ready1").exists())
    started.kill(9)
    run = place.the_run()
    task = ended(server, run.info.run_id)
    assert task["status"] == "stopped"
    assert scalars(server, task["id"]) == place.points(run.info.run_id)
    assert len(place.points(run.info.run_id)) == 2
    (place.folder / "ready0").unlink()  # the children were alive until now
