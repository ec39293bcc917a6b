"""Two hosts with the agent, and the servers on a third: where tests run programs that span hosts."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterable
from typing import Any

import psutil
import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.hand_over import VARIABLE
from tests.end_to_end.harness import Place, Points, ended, link_tags, properties, scalars, task_of
from tests.end_to_end.processes import PATIENCE_S, Finished, Started, wait_for
from tests.hosts.network import Host, Network, OnHost
from tests.problems import PROBLEMS

_EXPORTED = ("AUTOINSTRUMENT_", "MLFLOW_", "CLEARML_", "PYTHON", "OMP_")


class Cluster:
    """Hosts, and the place that they share: the working directory is on a file system of all hosts.

    Attributes:
        network: the hosts' network.
        place: the shared folder, MLflow's address and the environment; its scripts run where the servers are.
        server: the ClearML server.
    """

    def __init__(self, network: Network, place: Place, server: ClearMLServer) -> None:
        self.network, self.place, self.server = network, place, server
        self._experiments = 0

    @property
    def hosts(self) -> list[Host]:
        return self.network.hosts

    def experiment(self) -> str:
        """Let later programs log to a new experiment, and return its name."""
        self._experiments += 1
        name = f"cluster {self._experiments}"
        self.place.environ["MLFLOW_EXPERIMENT_NAME"] = name
        self.place.client.create_experiment(name)
        return name

    def environment(self, host: Host, *, agent: bool = True, name: str = "", **more: str) -> dict[str, str]:
        """Return the environment of a program on a host, which has its own home, journals and temporary folder.

        Programs with a `name` have journals, a temporary folder and therefore a worker of their own.
        """
        own = self.place.home / f"{host.name}{name}"
        PROBLEMS.watch(own)
        temporary, home = self.place.temporary / own.name, host.folder / "user"
        for folder in (temporary, home):
            folder.mkdir(parents=True, exist_ok=True)
        environ = self.place.environment(agent=agent, **{"OMP_NUM_THREADS": "1", **more})
        environ.pop(VARIABLE, None)  # the fork server is on another host
        environ |= {"TMPDIR": str(temporary), "HOME": str(home), "GLOO_SOCKET_IFNAME": "eth0"}
        return environ | ({"AUTOINSTRUMENT_HOME": str(own)} if agent else {})

    def start(self, host: Host, *command: str, agent: bool = True, name: str = "", **environ: str) -> OnHost:
        """Start Python on a host with the arguments of `command`; the rest as in `environment`."""
        line = [self.place.python, *command]
        return host.start(line, self.place.folder, self.environment(host, agent=agent, name=name, **environ))

    def workers(self, host: Host, name: str = "") -> list[psutil.Process]:
        """Return the workers of programs on a host, see `environment`."""
        folder = f"{self.place.temporary / (host.name + name)}/"
        return [each for each in self.place.workers() if folder in " ".join(each.cmdline())]

    def follow(self, **environ: str) -> Started:
        """Start `sync --follow` where the servers are."""
        elsewhere = {"AUTOINSTRUMENT_HOME": str(self.place.home / "follower"), **environ}
        command = ["-m", "autoinstrument", "sync", "--experiment", self.place.environ["MLFLOW_EXPERIMENT_NAME"]]
        return self.place.start("", command=[*command, "--follow"], agent=False, **elsewhere)

    def mpirun(self, script: str) -> Finished:
        """Run a script with two ranks on each host, by Open MPI on the machine where the servers are."""
        program = shutil.which("mpirun") or pytest.skip("needs Open MPI (Debian: openmpi-bin)")
        pytest.importorskip("mpi4py")
        # Open MPI starts its daemon on a host by `rsh HOST COMMAND`, a line for the shell there (4.1, plm_rsh_agent).
        entries = "\n".join(
            f'{host.name}) exec {shlex.join(host.command(["sh", "-c"], self.place.folder))} "$*";;'
            for host in self.hosts
        )
        rsh = self.place.write("rsh", f"#!/bin/sh\nname=$1; shift\ncase $name in\n{entries}\nesac\n")
        rsh.chmod(0o755)
        environ = self.environment(self.hosts[0])
        own = "\n".join(f"{host.name}) export {self._of_host(host)};;" for host in self.hosts)
        rank = self.place.write("rank", f'#!/bin/sh\ncase $(hostname) in\n{own}\nesac\nexec "$@"\n')
        rank.chmod(0o755)
        subnet = f"{self.network.address(0)}/24"
        started = subprocess.Popen(
            [
                program, "--allow-run-as-root", "--mca", "plm_rsh_agent", str(rsh),
                "--mca", "oob_tcp_if_include", subnet, "--mca", "btl_tcp_if_include", subnet,
                "--mca", "btl", "self,tcp",
                "--oversubscribe", "--bind-to", "none", "--host", ",".join(f"{host.name}:2" for host in self.hosts),
                *(word for key in environ if key.startswith(_EXPORTED) for word in ("-x", key)),
                str(rank), self.place.python, script,
            ],
            cwd=self.place.folder, env=environ,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        return Started(started).finish()

    def _of_host(self, host: Host) -> str:
        """Return assignments of a shell, of variables whose values differ from host to host."""
        environ = self.environment(host)
        return " ".join(f"{name}={shlex.quote(environ[name])}" for name in ("AUTOINSTRUMENT_HOME", "TMPDIR", "HOME"))

    # Results

    def runs(self) -> list[Any]:
        """Return the runs of the present experiment, in the order in which they were started."""
        client = self.place.client
        experiment = client.get_experiment_by_name(self.place.environ["MLFLOW_EXPERIMENT_NAME"])
        found = client.search_runs([experiment.experiment_id]) if experiment else []
        return sorted(found, key=lambda run: (run.info.start_time, run.info.run_name))

    def the_run(self) -> Any:
        (run,) = self.runs()
        return run

    def states(self) -> dict[str, tuple[str, str, str]]:
        """Return MLflow's status, ClearML's, and the link's state of each run, by its name."""
        found = {}
        for run in self.runs():
            tasks = [task for task in self.server.tasks if properties(task).get("mlflow_run_id") == run.info.run_id]
            assert len(tasks) <= 1, "several Tasks of one run"
            status = str(tasks[0]["status"]) if tasks else ""
            found[run.info.run_name] = (run.info.status, status, link_tags(run).get("state", ""))
        return found

    def points(self, run: Any) -> Points:
        return self.place.points(run.info.run_id)

    def task_of(self, run: Any) -> dict[str, Any]:
        return task_of(self.server, run.info.run_id)

    def assert_whole(self, *, points: int, status: str = "completed") -> dict[str, Any]:
        """There is one run with one Task, which has ended and holds all that MLflow holds; return the Task."""
        run = self.the_run()
        task = ended(self.server, run.info.run_id)
        assert task["status"] == status
        assert len(self.points(run)) == points
        wait_for(lambda: scalars(self.server, task["id"]) == self.points(run))
        wait_for(lambda: link_tags(self.the_run())["state"] == "synced")
        wait_for(lambda: not self.place.workers())
        self.assert_verified()
        return self.task_of(run)

    def assert_verified(self) -> None:
        """`verify` finds no difference in the present experiment, and no run that is left open."""
        runs = [run.info.run_id for run in self.runs()]
        verified = self.place.command("verify", *runs)
        assert verified.code == 0, verified.stdout + verified.stderr
        assert f"{len(runs)} the same, 0 different" in verified.stdout
        assert not verified.stderr, verified.stderr

    def clean(self) -> None:
        """Begin each test with hosts that are up, connected, and free of others' processes."""
        for host in self.hosts:
            host.plug()
            for address in (self.network.mlflow, self.network.clearml, *(other.address for other in self.hosts)):
                host.heal(address)
            host.restart(self.network)


def finished(started: Iterable[Started], seconds: float = PATIENCE_S) -> list[str]:
    """Wait for programs to end well, and return what they wrote to stdout."""
    done = [each.finish(seconds) for each in list(started)]
    assert all(each.code == 0 for each in done), "\n".join(f"{each.code}\n{each.stderr}" for each in done)
    return [each.stdout for each in done]


def torchrun(cluster: Cluster, script: str, *arguments: str, ranks: int = 2) -> list[OnHost]:
    """Start a script with so many ranks on each host; the first host is the master."""
    cluster.place.write("train.py", script)
    master = cluster.hosts[0].name
    return [
        cluster.start(
            host, "-m", "torch.distributed.run", f"--nnodes={len(cluster.hosts)}", f"--nproc-per-node={ranks}",
            f"--node-rank={number}", f"--master-addr={master}", "--master-port=29500", "train.py", *arguments,
        )
        for number, host in enumerate(cluster.hosts)
    ]  # fmt: skip
