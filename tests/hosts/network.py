"""Hosts on one machine, made of namespaces, without a container engine: each has its own network, name and processes.

The machine that runs the tests is one more host of their network, where the servers are: MLflow and ClearML have an
address each, so that a host can be cut off from one of them. What is cut off answers nothing, as behind a broken cable:
packets go to a network card that does not exist.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.processes import Started, wait_for

_COMMANDS = ("ip", "unshare", "nsenter")
_NOWHERE = "02:00:00:00:00:01"
# Children of the first process that are not waited for vanish by themselves: the setting outlives `exec`.
_INIT = """
trap '' CHLD
mount --make-rprivate /
hostname "$1"
mount --bind "$2" /etc/hosts
mount -t tmpfs tmpfs /dev/shm
mkdir -p /tmp/ray && mount -t tmpfs tmpfs /tmp/ray
exec sleep infinity
"""


class Host:
    """One host.

    Attributes:
        name: its host name. address: its IP address. folder: its own folder, which other hosts do not use.
    """

    def __init__(self, network: Network, name: str, number: int) -> None:
        self.name, self.address, self.folder = name, network.address(number), network.folder / name
        self._namespace, self._port = f"{network.name}{number}", f"{network.name}p{number}"
        self.folder.mkdir()
        _ip("netns", "add", self._namespace)
        _ip("link", "add", self._port, "type", "veth", "peer", "name", "eth0", "netns", self._namespace)
        _ip("link", "set", self._port, "master", network.bridge, "up")
        for command in ("link set lo up", f"addr add {self.address}/24 dev eth0", "link set eth0 up"):
            _ip("-n", self._namespace, *command.split())
        self._boot(network)

    def _boot(self, network: Network) -> None:
        unshare = ["unshare", "--uts", "--ipc", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]
        self._launcher = subprocess.Popen(
            ["ip", "netns", "exec", self._namespace, *unshare, "sh", "-ec", _INIT, "sh", self.name, network.hosts_file],
            stderr=subprocess.DEVNULL,  # `unshare` complains when its child is killed
        )
        wait_for(lambda: self._init() is not None and self._init_is_up())

    def _init(self) -> psutil.Process | None:
        with contextlib.suppress(psutil.Error):
            return next(iter(psutil.Process(self._launcher.pid).children()), None)
        return None

    def _init_is_up(self) -> bool:
        init = self._init()
        with contextlib.suppress(psutil.Error):
            return init is not None and init.name() == "sleep"
        return False

    def command(self, command: list[str], folder: Path) -> list[str]:
        """Return the command line that runs a command on this host."""
        init = self._init()
        assert init is not None, f"{self.name} is down"
        inside = [f"--{name}" for name in ("net", "uts", "ipc", "pid", "mount")]
        return [
            "nsenter", "--target", str(init.pid), *inside, "sh", "-c", 'cd "$0" && exec "$@"', str(folder), *command
        ]  # fmt: skip

    def start(self, command: list[str], folder: Path, environ: dict[str, str]) -> OnHost:
        """Start a command on this host."""
        return OnHost(
            subprocess.Popen(
                self.command(command, folder),
                env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
        )  # fmt: skip

    def cut(self, address: str) -> None:
        """Drop all packets of this host to an address."""
        self._ip("neigh", "replace", address, "lladdr", _NOWHERE, "nud", "permanent", "dev", "eth0")

    def heal(self, address: str) -> None:
        """Undo `cut`."""
        with contextlib.suppress(subprocess.CalledProcessError):  # it is not cut off
            self._ip("neigh", "del", address, "dev", "eth0")

    def unplug(self) -> None:
        """Take this host off the network; its processes go on."""
        _ip("link", "set", self._port, "down")

    def plug(self) -> None:
        """Undo `unplug`."""
        _ip("link", "set", self._port, "up")

    def kill(self) -> None:
        """Kill the first process, and with it all others at once: as a pod that is evicted, or by a power failure."""
        if init := self._init():
            init.kill()
        self._launcher.wait()

    def restart(self, network: Network) -> None:
        """Start the host again, which has no processes then."""
        self.kill()
        self._boot(network)

    def remove(self) -> None:
        self.kill()
        subprocess.run(["ip", "netns", "del", self._namespace], check=False)

    def _ip(self, *arguments: str) -> None:
        _ip("-n", self._namespace, *arguments)


class OnHost(Started):
    """A command that is running on a host."""

    def kill(self, number: int) -> None:
        """Send a signal to the command itself, not to the program that has entered the host."""
        for child in psutil.Process(self.process.pid).children():
            child.send_signal(number)


class Network:
    """A network of hosts.

    Attributes:
        mlflow, clearml: the addresses of the servers' host.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"aih{os.getpid() % 100_000}"
        self.bridge = f"{self.name}b"
        self._subnet = f"10.{64 + os.getpid() % 128}.{os.getpid() // 128 % 256}"
        self.mlflow, self.clearml = self.address(1), self.address(2)
        self.hosts_file = str(folder / "hosts")
        self.hosts: list[Host] = []
        _ip("link", "add", self.bridge, "type", "bridge")
        for address in (self.mlflow, self.clearml):
            _ip("addr", "add", f"{address}/24", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")

    def address(self, number: int) -> str:
        return f"{self._subnet}.{number}"

    def add(self, *names: str) -> list[Host]:
        """Add hosts, which know each other by name."""
        known = {name: self.address(number) for number, name in enumerate(names, 11)}
        lines = [f"{address} {name}" for name, address in {"localhost": "127.0.0.1", **known}.items()]
        Path(self.hosts_file).write_text("\n".join([*lines, ""]))
        for number, name in enumerate(names, 11):
            self.hosts.append(Host(self, name, number))
        return self.hosts

    def remove(self) -> None:
        for host in self.hosts:
            host.remove()
        subprocess.run(["ip", "link", "del", self.bridge], check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def forbidden() -> str:
    """Return why no hosts can be made here, "" if they can."""
    if sys.platform != "linux":
        return "namespaces are Linux's"
    if missing := [command for command in _COMMANDS if not shutil.which(command)]:
        return f"needs {' and '.join(missing)}"
    try:
        _ip("netns", "add", name := f"aihtry{os.getpid()}")
        _ip("-n", name, "link", "add", "name", "br0", "type", "bridge")
        _ip("netns", "del", name)
    except subprocess.CalledProcessError as error:
        return f"this user may make no namespaces of networks: {error.stderr.strip()}"
    tried = subprocess.run(["unshare", "--uts", "--pid", "--mount", "--fork", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else f"this user may make no namespaces: {tried.stderr.decode().strip()}"


@contextlib.contextmanager
def network_of(folder: Path, *names: str) -> Iterator[Network]:
    """Make a network with hosts of these names; the test is skipped where that is forbidden."""
    if reason := forbidden():
        pytest.skip(reason)
    network = Network(folder)
    try:
        network.add(*names)
        yield network
    finally:
        with contextlib.suppress(ProcessLookupError):
            network.remove()
